package tree

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
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
func odd() []Entry {
	list := []Entry{
		{Name: "a", Meta: Meta{Mode: unix.S_IFREG | 0o6755, UID: math.MaxUint32, GID: 7, Size: math.MaxInt64, MTime: -1, MTimeNsec: 999_999_999}},
		{Name: "b", Meta: Meta{Mode: unix.S_IFREG | 0o6755, UID: math.MaxUint32, GID: 7, MTime: 1 << 33}, Inode: Inode{Dev: 9, Ino: 5}},
		{Name: "b\x01", Meta: Meta{Mode: unix.S_IFLNK | 0o777, Link: "../\xff"}},
		{Name: "c", Meta: Meta{Mode: unix.S_IFBLK, Rdev: math.MaxUint64, Xattrs: map[string]string{"user.a": "", "user.b": "\x00"}}},
		{Name: "d", Meta: Meta{Mode: unix.S_IFDIR | 0o1777}},
	}
	for i := range list {
		e := &list[i]
		e.Stamp = Stamp{Dev: 9, Ino: 5, CTime: math.MinInt64 >> i, MTime: e.MTime*1e9 + int64(e.MTimeNsec)}
	}
	return list
}

func TestListingsKeepEverything(t *testing.T) {
	l := NewListings()
	l.add("", nil)
	l.add("odd\n", odd())
	l = reloaded(t, l)
	if got, ok := l.get("odd\n"); !ok || !reflect.DeepEqual(got, odd()) {
		t.Errorf("%t, %+v", ok, got)
	}
	if got, ok := l.get(""); !ok || len(got) != 0 {
		t.Errorf("an empty directory: %t, %v", ok, got)
	}
	if _, ok := l.get("other"); ok || l.has("other") || l.Changed() {
		t.Error("something was made up")
	}
	var none *Listings
	none.add("x", odd())
	if _, ok := none.get("x"); ok || none.has("x") {
		t.Error("nothing remembers something")
	}
}

// TestReleaseListings: what is stored already is let go of, and not added to any more; what is not stays.
func TestReleaseListings(t *testing.T) {
	l := NewListings()
	l.add("new", odd())
	l.Release()
	if !l.Changed() || !l.has("new") {
		t.Error("what was not saved yet is gone")
	}
	l = reloaded(t, l)
	l.Release()
	l.add("later", odd())
	if l.Changed() || l.has("new") || l.has("later") {
		t.Error("something is still remembered")
	}
}

// FuzzListings: whatever the bytes are, they are read or refused; what is read
// is sorted.
func FuzzListings(f *testing.F) {
	l := NewListings()
	l.add("dir", odd())
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
			entries, _ := l.get(path)
			for i := 1; i < len(entries); i++ {
				if entries[i-1].Name >= entries[i].Name {
					t.Fatalf("%q after %q", entries[i].Name, entries[i-1].Name)
				}
			}
		}
	})
}
