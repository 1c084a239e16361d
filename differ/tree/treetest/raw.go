package treetest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// RawFiles are all files below a directory by their paths, with all that can be told of
// them. Times that unpacking made are "now".
func RawFiles(dir string, since time.Time) (map[string]string, error) {
	all := map[string]string{}
	first := map[uint64]string{}
	when := func(t unix.Timespec) string {
		if t.Nano() >= since.UnixNano() {
			return "now"
		}
		return fmt.Sprint(t.Nano())
	}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if first[st.Ino] == "" {
			first[st.Ino] = name
		}
		kind := st.Mode & unix.S_IFMT
		s := fmt.Sprintf("%o %d:%d rdev=%x m=%s inode=%s", st.Mode, st.Uid, st.Gid, st.Rdev, when(st.Mtim), first[st.Ino])
		if kind != unix.S_IFDIR && kind != unix.S_IFLNK {
			s += " a=" + when(st.Atim) // that of others changes when they are read
		}
		more, err := rawContent(p, kind)
		if err != nil {
			return err
		}
		all[name] = s + more
		return nil
	})
	return all, err
}

// rawContent is what a file holds, and its extended attributes.
func rawContent(p string, kind uint32) (s string, err error) {
	switch kind {
	case unix.S_IFLNK:
		link, err := os.Readlink(p)
		if err != nil {
			return "", err
		}
		s = " -> " + link
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return "", err
		}
		s = fmt.Sprintf(" %d %x", len(data), sha256.Sum256(data))
	}
	names, err := sysx.LListxattr(p)
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	for _, n := range names {
		v, err := sysx.LGetxattr(p, n)
		if err != nil {
			return "", err
		}
		s += fmt.Sprintf(" %s=%x", n, v)
	}
	return s, nil
}

// RawDiff lists the paths that differ in two results of [RawFiles], with both sides.
func RawDiff(got, want map[string]string) (text string) {
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if got[p] != want[p] {
			text += fmt.Sprintf("%s\n  here:       %s\n  containerd: %s\n", p, got[p], want[p])
		}
	}
	return text
}
