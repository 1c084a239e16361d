package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// write puts data into a file of a new directory.
func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// readAll reads every regular file of a tree through Open, checks it against
// its digest and size, and returns the contents by path.
func readAll(t *testing.T, tr tree.Tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	_, root, err := tr.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var walk func(string, tree.Dir)
	walk = func(p string, d tree.Dir) {
		entries, err := d.Entries(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			name := tree.JoinPath(p, e.Name)
			switch {
			case e.IsDir():
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Error(err)
					continue
				}
				walk(name, sub)
			case e.IsRegular():
				f, err := d.Open(e.Name)
				if err != nil {
					t.Error(err)
					continue
				}
				data, err := io.ReadAll(f)
				if err != nil || sha256.Sum256(data) != e.Digest || int64(len(data)) != e.Size {
					t.Errorf("%s: %d of %d bytes, %v", name, len(data), e.Size, err)
				}
				if st, err := f.Stamp(); st != (tree.Stamp{}) || err != nil {
					t.Errorf("%s: stamp %v, %v", name, st, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				all[name] = string(data)
			}
		}
	}
	walk("", root)
	return all
}

// sampleTar holds ways of writing names, and a sparse file.
func sampleTar(t *testing.T) []byte {
	t.Helper()
	tc := tartest.TarContext{}.WithUIDGID(7, 8).WithModTime(treetest.Time)
	return treetest.Layer{
		tc.Dir("./", 0o711), tc.File("./a", []byte("A"), 0o644), tc.File("/abs/b", bytes.Repeat([]byte("B"), 100_000), 0o600),
		tc.Link("/abs/b", "c"), tc.Symlink("abs", "s"), tc.File("s/d", []byte("D"), 0o644), tc.File("x/../e", nil, 0o644),
		tc.File("a", []byte("again"), 0o644),
		treetest.Header{Typeflag: tar.TypeXGlobalHeader, Name: "a", PAXRecords: map[string]string{"comment": "of git"}},
	}.Bytes(t)
}

func TestOpenTar(t *testing.T) {
	plain := sampleTar(t)
	for name, data := range map[string][]byte{"plain.tar": plain, "packed.tar.gz": treetest.Gzipped(t, plain)} {
		spool := t.TempDir()
		tr, err := Open(context.Background(), write(t, name, data), spool)
		if err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
			t.Errorf("%s: spool holds %v, %v", name, left, err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				all := readAll(t, tr)
				if len(all) != 5 || all["a"] != "again" || all["abs/d"] != "D" || all["c"] != all["abs/b"] || len(all["c"]) != 100_000 {
					t.Errorf("%s: %d files", name, len(all))
				}
			})
		}
		wg.Wait()
		root, dir, err := tr.Root(context.Background())
		if err != nil || root.Mode != unix.S_IFDIR|0o711 || root.UID != 7 || root.MTime != treetest.Time.Unix() {
			t.Errorf("%s: root %+v, %v", name, root, err)
		}
		if _, err := tr.Open(); !errors.Is(err, unix.EISDIR) {
			t.Errorf("%s: open root: %v", name, err)
		}
		if _, err := dir.Open("no"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := dir.Sub("s"); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := dir.Open("s"); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(tr.Close(), tr.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(must(dir.Open("a"))); err == nil {
			t.Errorf("%s: readable after Close", name)
		}
	}
}

func must(f tree.File, err error) io.Reader {
	if err != nil {
		panic(err)
	}
	return f
}

func TestOpenTarSparse(t *testing.T) {
	dir := t.TempDir()
	treetest.SparseFile(t, dir, 1<<20)
	if err := os.WriteFile(dir+"/z", []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		data := treetest.GNUTar(t, dir, "--format="+format, "--sparse", "sparse", "z")
		tr, err := Open(context.Background(), write(t, "s.tar", data), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if all := readAll(t, tr); len(all["sparse"]) != 1<<20 || all["z"] != "after" {
			t.Errorf("%s: %d bytes, %q", format, len(all["sparse"]), all["z"])
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenTarRefuses(t *testing.T) {
	tc := tartest.TarContext{}
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte("content"), 0o644) }
	good := treetest.Layer{f("first"), f("last")}.Bytes(t)
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"whiteout":           {treetest.Layer{f("a/.wh.b")}.Bytes(t), []string{"a/.wh.b", "deletions"}},
		"whiteout dir":       {treetest.Layer{f(".wh.a/b")}.Bytes(t), []string{".wh.a/b"}},
		"leaves root":        {treetest.Layer{f("a"), f("x/../../b")}.Bytes(t), []string{`"x/../../b"`, "leaves"}},
		"leaves root, abs":   {treetest.Layer{f("/../b")}.Bytes(t), []string{`"/../b"`, "leaves"}},
		"link leaves root":   {treetest.Layer{tc.Link("../etc/passwd", "b")}.Bytes(t), []string{`"../etc/passwd"`, "leaves"}},
		"link to nothing":    {treetest.Layer{tc.Link("no", "b")}.Bytes(t), []string{`entry "b"`, `"no"`}},
		"empty":              {nil, []string{"empty"}},
		"zeros":              {make([]byte, 100), []string{"truncated"}},
		"no end mark":        {good[:2048], []string{"truncated", "last"}},
		"truncated content":  {good[:515], []string{"truncated", "first"}},
		"truncated header":   {good[:1100], []string{"truncated"}},
		"no tar":             {bytes.Repeat([]byte("text"), 1000), []string{"broken"}},
		"truncated gzip":     {treetest.Gzipped(t, good)[:60], []string{"truncated", "gzip"}},
		"very truncated gz":  {treetest.Gzipped(t, good)[:5], []string{"EOF"}},
		"gzip of truncated":  {treetest.Gzipped(t, good[:1100]), []string{"truncated", "gzip"}},
		"damaged bzip2":      {append([]byte("BZh91AY&SY"), make([]byte, 600)...), []string{"bzip2"}},
		"lz4":                {append([]byte("\x04\x22\x4d\x18"), make([]byte, 600)...), []string{"lz4", "zstd"}},
		"gzip in gzip":       {treetest.Gzipped(t, treetest.Gzipped(t, good)), []string{"truncated"}},
		"type not supported": {treetest.Layer{treetest.Header{Typeflag: 'Z', Name: "z"}}.Bytes(t), []string{"'Z'"}},
	} {
		p := write(t, "my.archive", c.data)
		spool := t.TempDir()
		tr, err := Open(context.Background(), p, spool)
		if err == nil {
			t.Errorf("%s: no error", name)
			tr.Close()
			continue
		}
		for _, w := range append(c.want, p) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
		_, err = OpenStream(context.Background(), bytes.NewReader(c.data), "standard input", spool)
		if err == nil || !strings.Contains(err.Error(), "standard input") {
			t.Errorf("%s, as a stream: %v", name, err)
		}
		if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
			t.Errorf("%s: spool holds %v, %v", name, left, err)
		}
	}
	if _, err := Open(context.Background(), t.TempDir(), ""); !errors.Is(err, unix.EISDIR) {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(context.Background(), "/no/such.tar", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := OpenStream(context.Background(), bytes.NewReader(good), "-", "/no/such/dir"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing spool: %v", err)
	}
}

func TestOpenTarNoticesChange(t *testing.T) {
	p := write(t, "a.tar", sampleTar(t))
	tr, err := Open(context.Background(), p, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	_, dir, err := tr.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	f, err := dir.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o644); err != nil { // the ctime is enough
		t.Fatal(err)
	}
	if _, err := io.ReadAll(f); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("no error after a change: %v", err)
	}
}

// A pipe is waited for until somebody writes into it, or ctx ends, also in the middle of what is written.
func TestOpenTarPipe(t *testing.T) {
	var p string // another one for each case: one that was given up may be opened when somebody writes
	fresh := func() {
		t.Helper()
		p = filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stopped := errors.New("stopped")
	ended := func(meanwhile func()) error {
		t.Helper()
		fresh()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			tr, err := Open(ctx, p, t.TempDir())
			if err == nil {
				err = tr.Close()
			}
			done <- err
		}()
		meanwhile()
		cancel(stopped)
		return <-done
	}
	if err := ended(func() {}); !errors.Is(err, stopped) {
		t.Errorf("nobody writes: %v", err)
	}
	var w *os.File
	err := ended(func() {
		var err error
		if w, err = os.OpenFile(p, os.O_WRONLY, 0); err != nil { // opens when the reader does
			t.Fatal(err)
		}
		if _, err := w.Write(sampleTar(t)[:600]); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) { // as the pipe or the scan hears it first
		t.Errorf("nobody goes on writing: %v", err)
	}
	w.Close()
	fresh()
	whole := sampleTar(t)
	go func() { _ = os.WriteFile(p, whole, 0) }()
	tr, err := Open(t.Context(), p, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	_, dir, err := tr.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Open("a"); err != nil {
		t.Error(err)
	}
}

func TestOpenTarSpoolIsPrivate(t *testing.T) {
	f, err := tempfile.Unnamed(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 || st.Mode&0o777 != 0o600 {
		t.Errorf("links %d, mode %o, %v", st.Nlink, st.Mode, err)
	}
}
