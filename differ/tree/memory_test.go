package tree

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func remembered(t *testing.T, m *Memory) *Memory {
	t.Helper()
	var buf bytes.Buffer
	if err := m.Save(&buf); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadMemory(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func entryAt(ino uint64) *Entry {
	e := &Entry{Stamp: Stamp{Dev: 1, Ino: ino, MTime: 5, CTime: 6}}
	e.Size = 10
	return e
}

func TestMemoryRemembers(t *testing.T) {
	m := NewMemory()
	d := Digest(sha256.Sum256([]byte("x")))
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
	if m = remembered(t, m); m.count() != 1 {
		t.Errorf("%d records left, want the one in use", m.count())
	}
}

// TestMemoryIsOfOneState: any difference that stat shows is another file.
func TestMemoryIsOfOneState(t *testing.T) {
	m := NewMemory()
	m.AddDigest(entryAt(1), Digest{1})
	m = remembered(t, m)
	for name, change := range map[string]func(*Entry){
		"dev":   func(e *Entry) { e.Stamp.Dev++ },
		"ino":   func(e *Entry) { e.Stamp.Ino++ },
		"mtime": func(e *Entry) { e.Stamp.MTime++ },
		"ctime": func(e *Entry) { e.Stamp.CTime-- },
		"size":  func(e *Entry) { e.Size++ },
	} {
		e := entryAt(1)
		change(e)
		if m.Digest(e).Known() {
			t.Errorf("another %s is taken for the same file", name)
		}
	}
	var none *Memory
	none.AddDigest(entryAt(1), Digest{1})
	if none.Digest(entryAt(1)).Known() || none.Equal(entryAt(1), entryAt(1)) || none.Changed() {
		t.Error("no memory remembers something")
	}
}

// TestMemoryRace: a file that changed within the margin may change again
// unseen, so it is not remembered (git's racy entries).
func TestMemoryRace(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLocal(filepath.Dir(p))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, dir, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := NewMemory()
	m.AddDigest(&entries[0], Digest{1})
	if m.Changed() {
		t.Error("a file written this moment is remembered")
	}
	m.now = func() time.Time { return time.Now().Add(raceMargin + time.Second) }
	m.AddDigest(&entries[0], Digest{1})
	if !m.Digest(&entries[0]).Known() {
		t.Error("a file at rest is not remembered")
	}
}

// TestMemoryRefuses what it did not write.
func TestMemoryRefuses(t *testing.T) {
	m := NewMemory()
	for ino := range uint64(5) {
		m.AddDigest(entryAt(ino+1), Digest{byte(ino)})
	}
	var buf bytes.Buffer
	if err := m.Save(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	swapped := bytes.Clone(good)
	first := swapped[len(memoryMagic):]
	copy(first, good[len(memoryMagic)+memoryRecord:][:memoryRecord])
	for name, bad := range map[string][]byte{
		"empty":     nil,
		"foreign":   []byte("something else entirely"),
		"truncated": good[:len(good)-1],
		"version":   append([]byte("veneer memory 1\n"), good[len(memoryMagic):]...),
		"order":     swapped,
	} {
		if _, err := LoadMemory(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
