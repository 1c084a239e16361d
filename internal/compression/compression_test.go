package compression

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

func TestDecompress(t *testing.T) {
	text := bytes.Repeat([]byte("some text, and more of it; "), 100_000)
	gz := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
		return out.Bytes()
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zs := func(b []byte) []byte { return enc.EncodeAll(b, nil) }
	half := len(text) / 2
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip")
	for name, c := range map[string]struct {
		data []byte
		kind string
	}{
		"plain":             {text, "none"},
		"gzip":              {gz(text), "gzip"},
		"gzip, two members": {append(gz(text[:half]), gz(text[half:])...), "gzip"},
		"zstd":              {zs(text), "zstd"},
		"zstd, two frames":  {append(zs(text[:half]), zs(text[half:])...), "zstd"},
		"zstd, skippable":   {append(skippable, zs(text)...), "zstd"},
	} {
		r, kind, err := Decompress(iotest.HalfReader(bytes.NewReader(c.data)))
		if err != nil || kind != c.kind {
			t.Errorf("%s: %s, %v", name, kind, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.kind == "none" {
			continue
		}
		r, _, err = Decompress(bytes.NewReader(c.data[:len(c.data)-3]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s, cut short: %v", name, err)
		}
	}
	for name, magic := range map[string]string{"bzip2": "BZh91AY&SY", "xz": "\xfd7zXZ\x00\x00\x04", "lz4": "\x04\x22\x4d\x18"} {
		_, _, err := Decompress(strings.NewReader(magic + strings.Repeat("\x00", 1000)))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "zstd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A tar's first name may look like any magic.
	named := treetest.Layer{tartest.TarContext{}.File("BZh91", nil, 0o644)}.Bytes(t)
	if _, kind, err := Decompress(bytes.NewReader(named)); kind != "none" || err != nil {
		t.Errorf("tar of BZh91: %s, %v", kind, err)
	}
	// A window of 1 GiB, as zstd --long=30 asks for.
	long := []byte("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00")
	if r, _, err := Decompress(bytes.NewReader(long)); err == nil {
		if _, err := io.ReadAll(r); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
			t.Errorf("huge window: %v", err)
		}
	}
}
