package tarball

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// FuzzOpenTar: of any bytes, an archive is the same in a file and as a stream, its contents are those of their digests,
// and where it has no links it has what archive/tar finds.
func FuzzOpenTar(f *testing.F) {
	for _, stack := range treetest.MergeCases() {
		for _, l := range stack {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			if tartest.TarAll(l...).WriteTo(tw) == nil && tw.Close() == nil {
				f.Add(b.Bytes())
			}
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = treetest.Repaired(data)
		dir := t.TempDir()
		p := filepath.Join(dir, "tar")
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Open(t.Context(), p, dir)
		if err == nil {
			defer file.Close()
		}
		stream, streamErr := OpenStream(t.Context(), bytes.NewReader(data), "tar", dir)
		if streamErr == nil {
			defer stream.Close()
		}
		if (err == nil) != (streamErr == nil) {
			t.Fatalf("in a file: %v\nas a stream: %v", err, streamErr)
		}
		if err != nil {
			return
		}
		if d := treetest.Flatten(t, file, nil).Diff(treetest.Flatten(t, stream, nil)); d != "" {
			t.Errorf("in a file and as a stream:\n%s", d)
		}
		if got, want := contents(t, stream), listed(data); want != nil && !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// contents returns what is in a tree: directories as "dir", regular files with their digests, all else with its type.
func contents(t *testing.T, tr tree.Tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	_, root, err := tr.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var walk func(tree.Dir, string)
	walk = func(d tree.Dir, at string) {
		entries, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(at, e.Name)
			switch {
			case e.IsDir():
				all[name] = "dir"
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				walk(sub, name)
			case e.IsRegular():
				f, err := d.Open(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(f)
				if err != nil || e.Digest != sha256.Sum256(data) || e.Size != int64(len(data)) {
					t.Errorf("%q: %d of %d bytes, digest %x, %v", name, len(data), e.Size, e.Digest, err)
				}
				all[name] = fmt.Sprintf("%x", sha256.Sum256(data))
			default:
				all[name] = fmt.Sprintf("%o", e.Type())
			}
		}
	}
	walk(root, "")
	return all
}

// listed is what contents should return of an archive, read by archive/tar alone; nil where a link in it asks for more
// than a list of names.
func listed(data []byte) map[string]string {
	types := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}
	all := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil || h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		name := path.Join("/", h.Name)[1:]
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if all[dir] == "" {
				all[dir] = "dir"
			}
		}
		content, err := io.ReadAll(tr)
		what := fmt.Sprintf("%x", sha256.Sum256(content))
		switch {
		case err != nil:
			return nil
		case h.Typeflag == tar.TypeDir:
			what = "dir"
		case types[h.Typeflag] != 0:
			what = fmt.Sprintf("%o", types[h.Typeflag])
		}
		if what != "dir" {
			maps.DeleteFunc(all, func(p, _ string) bool { return strings.HasPrefix(p, name+"/") })
		}
		if name != "" {
			all[name] = what
		}
	}
}
