package filecache

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

func reloaded(t *testing.T, l *Listings) *Listings {
	t.Helper()
	var stored bytes.Buffer
	if err := l.Save(&stored); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadListings(&stored)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// odd has an entry for every field at its limits.
func odd() []tree.Entry {
	list := []tree.Entry{
		{Name: "a", Meta: tree.Meta{Mode: unix.S_IFREG | 0o6755, UID: math.MaxUint32, GID: 7, Size: math.MaxInt64, MTime: -1, MTimeNsec: 999_999_999}},
		{Name: "b", Meta: tree.Meta{Mode: unix.S_IFREG | 0o6755, UID: math.MaxUint32, GID: 7, MTime: 1 << 33}, Inode: tree.Inode{Dev: 9, Ino: 5}},
		{Name: "b\x01", Meta: tree.Meta{Mode: unix.S_IFLNK | 0o777, Link: "../\xff"}},
		{Name: "c", Meta: tree.Meta{Mode: unix.S_IFBLK, Rdev: math.MaxUint64, Xattrs: map[string]string{"user.a": "", "user.b": "\x00"}}},
		{Name: "d", Meta: tree.Meta{Mode: unix.S_IFDIR | 0o1777}},
	}
	for i := range list {
		e := &list[i]
		e.Stamp = tree.Stamp{Dev: 9, Ino: 5, CTime: math.MinInt64 >> i, MTime: e.MTime*1e9 + int64(e.MTimeNsec)}
	}
	return list
}

func TestListingsKeepEverything(t *testing.T) {
	l := NewListings()
	l.Add("", nil)
	l.Add("odd\n", odd())
	l = reloaded(t, l)
	if got, ok := l.Get("odd\n"); !ok || !reflect.DeepEqual(got, odd()) {
		t.Errorf("%t, %+v", ok, got)
	}
	if got, ok := l.Get(""); !ok || len(got) != 0 {
		t.Errorf("an empty directory: %t, %v", ok, got)
	}
	if _, ok := l.Get("other"); ok || l.Has("other") || l.Changed() {
		t.Error("something was made up")
	}
	var none *Listings
	none.Add("x", odd())
	if _, ok := none.Get("x"); ok || none.Has("x") {
		t.Error("nothing remembers something")
	}
}

// TestReleaseListings: what is stored already is let go of, and not added to any more; what is not stays.
func TestReleaseListings(t *testing.T) {
	l := NewListings()
	l.Add("new", odd())
	l.Release()
	if !l.Changed() || !l.Has("new") {
		t.Error("what was not saved yet is gone")
	}
	l = reloaded(t, l)
	l.Release()
	l.Add("later", odd())
	if l.Changed() || l.Has("new") || l.Has("later") {
		t.Error("something is still remembered")
	}
}

// FuzzListings: whatever the bytes are, they are read or refused; what is read
// is sorted.
func FuzzListings(f *testing.F) {
	l := NewListings()
	l.Add("dir", odd())
	var good bytes.Buffer
	if err := l.Save(&good); err != nil {
		f.Fatal(err)
	}
	for i := range good.Len() {
		bad := bytes.Clone(good.Bytes())
		bad[i] ^= 0x41
		f.Add(bad)
		f.Add(good.Bytes()[:i])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := LoadListings(bytes.NewReader(data))
		if err != nil {
			return
		}
		for path := range l.dirs {
			entries, _ := l.Get(path)
			for i := 1; i < len(entries); i++ {
				if entries[i-1].Name >= entries[i].Name {
					t.Fatalf("%q after %q", entries[i].Name, entries[i-1].Name)
				}
			}
		}
	})
}
