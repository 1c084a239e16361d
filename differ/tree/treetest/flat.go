package treetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// Flat is a tree as comparable lines, by path.
type Flat map[string]string

// describe prints all that two trees must agree upon. Directory times that
// unpacking sets are "now" on disk, and must be unknown to Merge.
func describe(e *tree.Entry, group string, now bool) string {
	t := fmt.Sprintf("%d.%09d", e.MTime, e.MTimeNsec)
	if now {
		t = "now"
	}
	var attrs []string
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		attrs = append(attrs, fmt.Sprintf("%s=%x", k, e.Xattrs[k]))
	}
	return fmt.Sprintf("%o %d:%d size=%d t=%s rdev=%x link=%q %v sha=%x group=%s",
		e.Mode, e.UID, e.GID, e.Size, t, e.Rdev, e.Link, attrs, e.Digest[:4], group)
}

// FlattenDisk reads a directory that containerd unpacked into.
func FlattenDisk(t *testing.T, root string, since time.Time) Flat {
	t.Helper()
	flat := Flat{}
	names := map[tree.Inode][]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); errors.Is(err, unix.ENOENT) {
			return nil // Overlayfs lists whiteouts of directories that one layer has alone.
		} else if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		e, err := diskEntry(p, &st)
		if err != nil {
			return err
		}
		e.Xattrs = diskXattrs(t, p)
		if !e.IsDir() && st.Nlink > 1 {
			inode := tree.Inode{Dev: st.Dev, Ino: st.Ino}
			names[inode] = append(names[inode], name)
		}
		flat[name] = describe(&e, "", e.IsDir() && !e.ModTime().Before(since))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range names {
		if len(group) < 2 {
			continue // An overlay mount counts names that it does not show.
		}
		for _, name := range group {
			flat[name] += group[0]
		}
	}
	return flat
}

func diskEntry(p string, st *unix.Stat_t) (tree.Entry, error) {
	e := tree.Entry{Meta: tree.Meta{Mode: st.Mode, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Sec, MTimeNsec: int32(st.Mtim.Nsec)}}
	switch e.Type() {
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return e, err
		}
		e.Size, e.Digest = int64(len(data)), sha256.Sum256(data)
	case unix.S_IFLNK:
		e.Link, _ = os.Readlink(p)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = st.Rdev
	}
	return e, nil
}

func diskXattrs(t *testing.T, p string) map[string]string {
	t.Helper()
	names, err := sysx.LListxattr(p)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for _, n := range names {
		if tree.KeepXattr(n) {
			v, err := sysx.LGetxattr(p, n)
			if err != nil {
				t.Fatal(err)
			}
			kept[n] = string(v)
		}
	}
	return kept
}

// Flatten reads any tree, to be compared with disk.
func Flatten(t *testing.T, tr tree.Tree, disk Flat) Flat {
	t.Helper()
	flat := Flat{}
	first := map[tree.Inode]string{}
	_, root, err := tr.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var walk func(string, tree.Dir)
	walk = func(p string, d tree.Dir) {
		entries, err := d.Entries(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(entries, tree.CompareNames) {
			t.Errorf("entries of %q are not sorted", p)
		}
		for i := range entries {
			e := &entries[i]
			name := path.Join(p, e.Name)
			group := ""
			if e.Inode != (tree.Inode{}) {
				if first[e.Inode] == "" {
					first[e.Inode] = name
				}
				group = first[e.Inode]
			}
			unknown := e.IsDir() && e.MTime == tree.UnknownTime
			flat[name] = describe(e, group, unknown)
			if _, rest, old := strings.Cut(disk[name], " t="); old && unknown {
				// The overlay applier sets a time that this one leaves as it was.
				at, _, _ := strings.Cut(rest, " ")
				flat[name] = strings.Replace(flat[name], " t=now ", " t="+at+" ", 1)
			}
			if e.IsDir() {
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				walk(name, sub)
			}
		}
	}
	walk("", root)
	return flat
}

// Diff lists the paths that differ, with both sides. Empty: nothing does.
func (f Flat) Diff(want Flat) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if f[p] != want[p] {
			fmt.Fprintf(&b, "%s\n  merge:      %s\n  containerd: %s\n", p, f[p], want[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(f)) {
		if _, ok := want[p]; !ok {
			fmt.Fprintf(&b, "%s\n  merge:      %s\n  containerd: -\n", p, f[p])
		}
	}
	return b.String()
}
