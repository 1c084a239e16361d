package treetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
)

// Time is long before any unpacking, with nanoseconds.
var Time = time.Unix(1_500_000_000, 123_456_789)

// Layer is what a layer holds, in order.
type Layer []tartest.WriterToTar

// Bytes returns the layer as a tar.
func (l Layer) Bytes(t interface{ Fatal(...any) }) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tartest.TarAll(l...).WriteTo(tw); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Header writes any header, with content of its size.
type Header tar.Header

// WriteTo writes the entry, as [tartest.WriterToTar].
func (h Header) WriteTo(tw *tar.Writer) error {
	th := tar.Header(h)
	if th.Typeflag != tar.TypeXGlobalHeader {
		if th.Format == tar.FormatUnknown {
			th.Format = tar.FormatPAX
		}
		if th.ModTime.IsZero() {
			th.ModTime = Time
		}
	}
	if err := tw.WriteHeader(&th); err != nil {
		return err
	}
	_, err := tw.Write(bytes.Repeat([]byte("x"), int(th.Size)))
	return err
}

// FileCap is a valid VFS_CAP_REVISION_2 value: cap_net_raw+ep.
const FileCap = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Xattrs makes PAX records of pairs of a name and a value.
func Xattrs(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m["SCHILY.xattr."+pairs[i]] = pairs[i+1]
	}
	return m
}

// Repaired returns a tar whose headers' checksums are right, so that what a fuzzer changes in them is looked at. No file
// has holes: they are read, but slowly.
func Repaired(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("GNU.sparse"), []byte("GNU.filled"))
	for rest := data; len(rest) >= 512; {
		h := rest[:512]
		rest = rest[512:]
		if len(bytes.Trim(h, "\x00")) == 0 {
			continue
		}
		if h[156] == tar.TypeGNUSparse {
			h[156] = tar.TypeReg
		}
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00", sum))
		size, err := strconv.ParseUint(strings.Trim(string(h[124:136]), " \x00"), 8, 40)
		if err != nil {
			size = 0
		}
		rest = rest[min(int((size+511)&^511), len(rest)):]
	}
	return data
}

// GNUTar makes an archive of a directory with the tar command.
func GNUTar(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "-cf", "-"}, args...)...).Output()
	if err != nil {
		t.Skip("no tar command: ", err)
	}
	return out
}

// SparseFile makes a file "sparse" of the size in dir, with data in its middle only.
func SparseFile(t *testing.T, dir string, size int64) {
	t.Helper()
	f, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("in the middle"), size/2)
	if err := errors.Join(err, f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Gzipped compresses data.
func Gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
