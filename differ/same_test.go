package differ_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// sameTree makes a directory with a file of every kind that needs no privilege.
func sameTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	past := time.Unix(1_600_000_000, 0)
	err := errors.Join(
		os.Mkdir(at("dir"), 0o755),
		os.WriteFile(at("dir/file"), []byte("content"), 0o644),
		os.WriteFile(at("one"), []byte("linked"), 0o600),
		os.Link(at("one"), at("two")),
		os.Link(at("one"), at("dir/three")),
		os.WriteFile(at("empty"), nil, 0o644),
		os.Symlink("dir/file", at("link")),
		unix.Mkfifo(at("fifo"), 0o644),
	)
	for _, name := range []string{"dir/file", "one", "empty"} {
		err = errors.Join(err, os.Chtimes(at(name), past, past))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// indexed returns the tree as a merged index: what layers say of it.
func indexed(t *testing.T, dir string) tree.Tree {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	first := map[uint64]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		link, _ := os.Readlink(p)
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name, h.Format = name, tar.FormatPAX
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if st.Nlink > 1 && !info.IsDir() {
			if f, ok := first[st.Ino]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f, 0
			} else {
				first[st.Ino] = name
			}
		}
		if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	x, err := index.ScanLayer(t.Context(), &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.Merge(t.Context(), []*index.Index{x}, index.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func differences(t *testing.T, want, got tree.Tree, o differ.SameOptions) []string {
	t.Helper()
	list := []string{}
	o.Report = func(d differ.Difference) error {
		if d.Path != "" { // t.TempDir's mode is not 0755
			list = append(list, fmt.Sprintf("%s %s", d.Path, d))
		}
		return nil
	}
	if err := differ.Same(t.Context(), want, got, o); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func local(t *testing.T, dir string) tree.Tree {
	t.Helper()
	l, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestSame: each change is found by its aspect, and nothing else is, whichever of the trees knows its digests.
func TestSame(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(at func(string) string) error
		want   []string // prefixes
	}{
		{"nothing", func(func(string) string) error { return nil }, nil},
		{"added", func(at func(string) string) error {
			return errors.Join(os.Mkdir(at("x"), 0o755), os.WriteFile(at("x/y"), nil, 0o644))
		}, []string{"x extra"}},
		{"removed", func(at func(string) string) error { return os.RemoveAll(at("dir")) }, []string{"dir missing"}},
		{"content", func(at func(string) string) error {
			return errors.Join(os.WriteFile(at("dir/file"), []byte("contend"), 0o644), os.Chtimes(at("dir/file"), time.Time{}, time.Unix(1_600_000_000, 0)))
		}, []string{"dir/file content"}},
		{"size", func(at func(string) string) error {
			return errors.Join(os.Truncate(at("dir/file"), 3), os.Chtimes(at("dir/file"), time.Time{}, time.Unix(1_600_000_000, 0)))
		}, []string{"dir/file size: 3 (should be 7)"}},
		{"mode", func(at func(string) string) error { return os.Chmod(at("fifo"), 0o600) }, []string{"fifo mode: 0600 (should be 0644)"}},
		{"type", func(at func(string) string) error {
			return errors.Join(os.Remove(at("empty")), os.Mkdir(at("empty"), 0o755))
		}, []string{"empty type: directory (should be file)"}},
		{"link", func(at func(string) string) error {
			return errors.Join(os.Remove(at("link")), os.Symlink("dir", at("link")))
		}, []string{`link link target: "dir" (should be "dir/file")`, "link mtime"}},
		{"time", func(at func(string) string) error {
			return os.Chtimes(at("empty"), time.Time{}, time.Unix(1_600_000_001, 0))
		}, []string{"empty mtime: 2020-09-13T12:26:41Z (should be 2020-09-13T12:26:40Z)"}},
		{"xattr", func(at func(string) string) error { return unix.Setxattr(at("empty"), "user.x", []byte("v"), 0) }, []string{`empty xattr: "v" (should be user.x absent)`}},
		{"hard link", func(at func(string) string) error {
			return errors.Join(os.Remove(at("two")), os.WriteFile(at("two"), []byte("linked"), 0o600), os.Chtimes(at("two"), time.Time{}, time.Unix(1_600_000_000, 0)))
		}, []string{`two hard link: a file of its own (should be one file with "/dir/three")`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := sameTree(t)
			want := indexed(t, dir)
			if err := c.change(func(name string) string { return filepath.Join(dir, name) }); errors.Is(err, unix.ENOTSUP) {
				t.Skip("no user attributes on this file system")
			} else if err != nil {
				t.Fatal(err)
			}
			got := differences(t, want, local(t, dir), differ.SameOptions{Times: true})
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "dir mtime") })
			if len(got) != len(c.want) {
				t.Fatalf("differences %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("difference %q, want %q", got[i], c.want[i])
				}
			}
			// Without digests on either side, and with them on both.
			again := indexed(t, dir)
			if d := differences(t, local(t, dir), local(t, dir), differ.SameOptions{Times: true}); len(d) > 0 {
				t.Errorf("a tree and itself: %q", d)
			}
			if d := differences(t, local(t, dir), again, differ.SameOptions{}); c.name != "xattr" && len(d) > 0 {
				t.Errorf("a tree and its index: %q", d)
			}
		})
	}
}

// TestSameContentUnknown: two trees without digests are compared byte by byte.
func TestSameContentUnknown(t *testing.T) {
	a, b := sameTree(t), sameTree(t)
	if d := differences(t, local(t, a), local(t, b), differ.SameOptions{}); len(d) > 0 {
		t.Fatalf("equal trees: %q", d)
	}
	if err := os.WriteFile(filepath.Join(b, "one"), []byte("lonked"), 0o600); err != nil {
		t.Fatal(err)
	}
	// All three names show it.
	want := []string{"dir/three content", "one content", "two content"}
	if d := differences(t, local(t, a), local(t, b), differ.SameOptions{}); !slices.Equal(d, want) {
		t.Errorf("differences %q", d)
	}
	if d := differences(t, local(t, a), local(t, b), differ.SameOptions{NoContent: true}); len(d) > 0 {
		t.Errorf("without content: %q", d)
	}
}

// TestSameStops: an error of Report, or the end of the context, ends it.
func TestSameStops(t *testing.T) {
	a, b := sameTree(t), t.TempDir()
	stop := errors.New("enough")
	err := differ.Same(t.Context(), local(t, a), local(t, b), differ.SameOptions{Report: func(differ.Difference) error { return stop }})
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = differ.Same(ctx, local(t, a), local(t, a), differ.SameOptions{Report: func(differ.Difference) error { return nil }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
