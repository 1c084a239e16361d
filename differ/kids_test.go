package differ

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// TestKids: leaves or not, they are a map.
func TestKids(t *testing.T) {
	src, other := rootFile{}, rootFile{&index.Merged{}}
	for seed := range 200 {
		r := rand.New(rand.NewPCG(uint64(seed), 5))
		var k kids
		model := make(map[string]int64)
		for range 60 {
			name := fmt.Sprint(r.IntN(30))
			size := r.Int64()
			switch r.IntN(4) {
			case 0:
				k.remove(name)
				delete(model, name)
			case 1:
				k.set(name, &node{state: set, entry: tree.Entry{Name: name, Meta: tree.Meta{Size: size}}})
				model[name] = size
			case 2:
				e := tree.Entry{Name: name, Meta: tree.Meta{Mode: unix.S_IFREG | 0o644, Size: size}}
				if _, ok := model[name]; ok || !k.addFile(&e, ReasonNew, []tree.Dir{src, src, other}[r.IntN(3)], nil) {
					continue
				}
				model[name] = size
			case 3:
				n := k.get(name)
				if want, ok := model[name]; ok != (n != nil) || ok && n.entry.Size != want {
					t.Fatalf("seed %d: %q is %v, want %d, %t", seed, name, n, want, ok)
				}
			}
		}
		var names []string
		for name, n := range k.all() {
			names = append(names, name)
			if n.entry.Size != model[name] || n.entry.Name != name {
				t.Fatalf("seed %d: %q is %+v", seed, name, n.entry)
			}
		}
		if !slices.Equal(names, slices.Sorted(maps.Keys(model))) || k.none() != (len(model) == 0) {
			t.Fatalf("seed %d: %q, want %q", seed, names, slices.Sorted(maps.Keys(model)))
		}
	}
}

// TestLeafIsTheFile: what becomes a leaf comes back as it was.
func TestLeafIsTheFile(t *testing.T) {
	e := tree.Entry{
		Name:  "f",
		Meta:  tree.Meta{Mode: unix.S_IFREG | 0o4711, UID: 1, GID: 2, Size: 3, MTime: -4, MTimeNsec: 5},
		Stamp: tree.Stamp{Dev: 6, Ino: 7, CTime: 8, MTime: -4*1e9 + 5},
	}
	var k kids
	cache := filecache.New()
	if !k.addFile(&e, ReasonContent, rootFile{}, cache) {
		t.Fatal("not a leaf")
	}
	n := k.get("f")
	if fmt.Sprintf("%+v", n.entry) != fmt.Sprintf("%+v", e) || n.cache != cache || n.src != (rootFile{}) || n.srcName != "f" ||
		n.reason != ReasonContent || n.base == nil || !n.base.IsRegular() {
		t.Errorf("%+v, want %+v", n.entry, e)
	}
	for name, change := range map[string]func(*tree.Entry){
		"xattr":  func(e *tree.Entry) { e.Xattrs = map[string]string{"user.a": "b"} },
		"link":   func(e *tree.Entry) { e.Inode = tree.Inode{Ino: 7} },
		"digest": func(e *tree.Entry) { e.Digest = tree.Digest{1} },
		"type":   func(e *tree.Entry) { e.Mode = unix.S_IFIFO },
		"tar":    func(e *tree.Entry) { e.Stamp = tree.Stamp{} },
	} {
		other := e
		change(&other)
		if new(kids).addFile(&other, ReasonNew, rootFile{}, nil) {
			t.Errorf("%s: became a leaf, which cannot hold it", name)
		}
	}
}
