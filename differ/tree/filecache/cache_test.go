package filecache

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
)

func remembered(t *testing.T, m *Cache) *Cache {
	t.Helper()
	var buf bytes.Buffer
	if err := m.Save(&buf); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func entryAt(ino uint64) *tree.Entry {
	e := &tree.Entry{Stamp: tree.Stamp{Dev: 1, Ino: ino, MTime: 5, CTime: 6}}
	e.Size = 10
	return e
}

func TestMemoryRemembers(t *testing.T) {
	m := New()
	d := tree.Digest(sha256.Sum256([]byte("x")))
	base := entryAt(99)
	for ino := uint64(300); ino > 0; ino-- {
		m.AddDigest(entryAt(ino), d)
	}
	m.AddEqual(entryAt(7), base)
	m.AddEqual(entryAt(500), base)
	for range 2 {
		m = remembered(t, m)
		for ino := uint64(1); ino <= 300; ino++ {
			if m.Digest(entryAt(ino)) != d {
				t.Fatalf("file %d is forgotten", ino)
			}
		}
		if !m.Equal(entryAt(7), base) || !m.Equal(entryAt(500), base) || m.Equal(entryAt(8), base) {
			t.Fatal("equality is forgotten, or invented")
		}
		if m.Digest(entryAt(500)).Known() {
			t.Error("a digest of a file that was not hashed")
		}
	}
	if m.Changed() {
		t.Error("nothing is new")
	}
	// A second load asks for one file: the others are gone, and so forgotten.
	_ = remembered(t, m)
	m = remembered(t, m)
	m.Digest(entryAt(3))
	if m = remembered(t, m); m.loaded.len() != 1 {
		t.Errorf("%d records left, want the one in use", m.loaded.len())
	}
}

// TestMemoryOfNames: a directory's names are kept under its stamp, and are the only thing that is known of it but for its
// attributes.
func TestMemoryOfNames(t *testing.T) {
	m := New()
	for ino := uint64(1); ino < 200; ino++ {
		dir := entryAt(ino)
		dir.Size = 0
		m.AddPlain(dir)
		m.AddNames(dir.Stamp, strings.Repeat("n", int(ino)))
		m.AddDigest(entryAt(ino+1000), tree.Digest{byte(ino)})
	}
	for range 3 {
		m = remembered(t, m)
		for ino := uint64(1); ino < 200; ino++ {
			dir := entryAt(ino)
			dir.Size = 0
			if got := m.Names(dir.Stamp); len(got) != int(ino) || !m.Plain(dir) || m.Digest(dir).Known() {
				t.Fatalf("directory %d has names %q", ino, got)
			}
			if m.Digest(entryAt(ino+1000)) != (tree.Digest{byte(ino)}) {
				t.Fatalf("file %d is forgotten", ino)
			}
			dir.Stamp.MTime++
			if m.Names(dir.Stamp) != "" {
				t.Fatal("names of another state")
			}
		}
		m = remembered(t, m)
		m.AddNames(entryAt(7).Stamp, "another")
		if m = remembered(t, m); m.loaded.len() != 1 || m.Names(entryAt(7).Stamp) != "another" {
			t.Fatalf("%d records, names %q", m.loaded.len(), m.Names(entryAt(7).Stamp))
		}
		m = New()
		for ino := uint64(1); ino < 200; ino++ {
			dir := entryAt(ino)
			dir.Size = 0
			m.AddNames(dir.Stamp, strings.Repeat("n", int(ino)))
			m.AddPlain(dir)
			m.AddDigest(entryAt(ino+1000), tree.Digest{byte(ino)})
		}
	}
	m.AddNames(entryAt(1001).Stamp, "of a file?") // It has the size 0, and that file has not.
	if m.Names(entryAt(1001).Stamp) == "" || !m.Digest(entryAt(1001)).Known() {
		t.Error("another file's names are mixed up with a digest")
	}
}

// TestMemoryIsOfOneState: any difference that stat shows is another file.
func TestMemoryIsOfOneState(t *testing.T) {
	m := New()
	m.AddDigest(entryAt(1), tree.Digest{1})
	m = remembered(t, m)
	for name, change := range map[string]func(*tree.Entry){
		"dev":   func(e *tree.Entry) { e.Stamp.Dev++ },
		"ino":   func(e *tree.Entry) { e.Stamp.Ino++ },
		"mtime": func(e *tree.Entry) { e.Stamp.MTime++ },
		"ctime": func(e *tree.Entry) { e.Stamp.CTime-- },
		"size":  func(e *tree.Entry) { e.Size++ },
	} {
		e := entryAt(1)
		change(e)
		if m.Digest(e).Known() {
			t.Errorf("another %s is taken for the same file", name)
		}
	}
	var none *Cache
	none.AddDigest(entryAt(1), tree.Digest{1})
	if none.Digest(entryAt(1)).Known() || none.Equal(entryAt(1), entryAt(1)) || none.Changed() {
		t.Error("no memory remembers something")
	}
}

// TestMemoryRefuses what it did not write.
func TestMemoryRefuses(t *testing.T) {
	m := New()
	for ino := range uint64(5) {
		m.AddDigest(entryAt(ino+1), tree.Digest{byte(ino + 1)})
	}
	var buf bytes.Buffer
	if err := m.Save(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	first := headSize + devSize // and second and so on
	second, digests := first+recordSize, first+5*recordSize
	if len(good) != digests+5*len(tree.Digest{}) {
		t.Fatalf("%d bytes are not five records", len(good))
	}
	with := func(at int, b ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[at:], b)
		return bad
	}
	many := with(len(magic)+4, 0xff, 0xff, 0xff, 0xff)
	for name, bad := range map[string][]byte{
		"empty":            nil,
		"foreign":          []byte("something else entirely, and not short either"),
		"truncated":        good[:len(good)-1],
		"head alone":       good[:headSize],
		"version":          append([]byte("veneer memory 4\n"), good[len(magic):]...),
		"the same again":   with(second, good[first:first+8]...),
		"order":            with(first, 9),
		"longer":           append(bytes.Clone(good), 0),
		"no such device":   with(first+recordDev, 1),
		"no device":        append(append(bytes.Clone(good[:headSize]), good[first:]...), make([]byte, 8)...),
		"devices":          with(len(magic), 0xff, 0xff),
		"records":          many,
		"digests":          with(len(magic)+8, 6),
		"none of a record": with(first+recordDigest, 0),
		"another's digest": with(first+recordDigest, 2),
		"a zero digest":    with(digests, make([]byte, 32)...),
		"flags":            with(first+recordFlags, 4),
		"padding":          with(first+recordFlags+1, 1),
		"a twin's device":  with(first+recordTwinDev, 1),
		"size":             with(first+recordFileSize+7, 0x80),
		"two devices, one": append(append(append(with(len(magic), 2)[:headSize:headSize], good[headSize:first]...), good[headSize:first]...), good[first:]...),
	} {
		if _, err := Load(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Load(bytes.NewBuffer(good)); err != nil {
		t.Error(err)
	}
}

// TestMemoryTable: records of many files, devices and kinds survive being
// stored, and are found among all others.
func TestMemoryTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := New()
	type fact struct {
		e    tree.Entry
		want facts
	}
	var facts []fact
	for range 20000 {
		var f fact
		f.e.Stamp = tree.Stamp{Dev: r.Uint64N(5), Ino: r.Uint64N(3000), MTime: r.Int64N(4) - 2, CTime: 1 + r.Int64N(1<<40)}
		f.e.Size = r.Int64N(3)
		if kind := r.IntN(8); kind < 4 {
			f.want.digest = tree.Digest{byte(r.Uint32()), 1}
			m.AddDigest(&f.e, f.want.digest)
		} else if kind < 7 {
			base := tree.Entry{Stamp: tree.Stamp{Dev: r.Uint64N(300), Ino: r.Uint64(), MTime: int64(r.Uint64()), CTime: int64(r.Uint64())}}
			f.want.twin = base.Stamp
			m.AddEqual(&f.e, &base)
		}
		if r.IntN(2) == 0 {
			f.want.plain = true
			m.AddPlain(&f.e)
		}
		if f.want.twin.Dev >= 250 { // A table knows 256 devices; which ones, chance says.
			continue
		}
		facts = append(facts, f)
	}
	check := func(when string) {
		t.Helper()
		lost := 0
		for _, f := range facts {
			got := m.lookup(&f.e)
			if got.twin == (tree.Stamp{}) && f.want.twin != (tree.Stamp{}) {
				lost++
				got.twin = f.want.twin
			}
			if got != f.want {
				t.Fatalf("%s: %+v is %+v, want %+v", when, f.e.Stamp, got, f.want)
			}
		}
		if lost > len(facts)/10 {
			t.Fatalf("%s: %d of %d twins are lost", when, lost, len(facts))
		}
	}
	check("as learnt")
	m = remembered(t, m)
	check("stored")
	m.AddPlain(&facts[0].e)
	facts[0].want.plain = true
	check("with more learnt")
	m = remembered(t, m)
	check("stored again")
}
