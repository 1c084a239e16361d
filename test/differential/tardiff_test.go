package differential_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/test/harness"
)

// TestTarDiff: what Veneer makes github.com/containers/tar-diff applies, and the other way round, of random trees and
// edits. (How Veneer's own making and applying agree is tested beside them.)
func TestTarDiff(t *testing.T) {
	rounds := uint64(12)
	if os.Getenv("VENEER_SOAK") != "" {
		rounds = 300
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(seed, 170))
		dir := t.TempDir()
		oldTar, newTar := filepath.Join(dir, "old.tar"), filepath.Join(dir, "new.tar")
		tree := dirTree(filepath.Join(dir, "tree"))
		files := tarDiffFiles(r)
		writeFiles(t, oldTar, files, string(tree))
		writeFiles(t, newTar, tarDiffEdits(r, files), "")
		want, err := os.ReadFile(newTar)
		harness.Check(t, err)

		theirs := filepath.Join(dir, "theirs")
		harness.Check(t, harness.TarDiff(t, oldTar, newTar, theirs))
		delta, err := os.ReadFile(theirs)
		harness.Check(t, err)
		var got bytes.Buffer
		if _, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), tree, &got, tardiff.Limits{}); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("seed %d: theirs gave %d bytes of %d here: %v", seed, got.Len(), len(want), err)
		}

		var ours bytes.Buffer
		if _, err := tardiff.Make(t.Context(), bytes.NewReader(want), tree, &ours); err != nil {
			t.Fatal(err)
		}
		name, patched := filepath.Join(dir, "ours"), filepath.Join(dir, "patched.tar")
		harness.Check(t, os.WriteFile(name, ours.Bytes(), 0o600))
		harness.Check(t, harness.TarPatch(t, name, string(tree), patched))
		if b, err := os.ReadFile(patched); err != nil || !bytes.Equal(b, want) {
			t.Errorf("seed %d: ours gave %d bytes of %d there: %v", seed, len(b), len(want), err)
		}
		if ours.Len() > len(delta)+len(delta)/10+500 {
			t.Errorf("seed %d: ours has %d bytes, theirs %d", seed, ours.Len(), len(delta))
		}
	}
}

type tarFile struct {
	name    string
	content []byte
}

// tarDiffFiles are files of random bytes and of text.
func tarDiffFiles(r *rand.Rand) (files []tarFile) {
	for i := range 2 + r.IntN(12) {
		b := make([]byte, r.IntN(200_000))
		for j := range b {
			b[j] = byte(r.IntN(256))
			if i%2 == 0 {
				b[j] = "abcdefgh \n"[b[j]%10]
			}
		}
		files = append(files, tarFile{fmt.Sprintf("usr/lib%d/name-1.%d.so", i%3, i), b})
	}
	return files
}

// tarDiffEdits are the next version of files: equal ones, changed, moved, renamed and new.
func tarDiffEdits(r *rand.Rand, files []tarFile) (next []tarFile) {
	for i, f := range files {
		b := slices.Clone(f.content)
		at := r.IntN(len(b) + 1)
		switch r.IntN(6) {
		case 0:
			b = slices.Insert(b, at, []byte("something new")...)
		case 1:
			for j := at; j < len(b); j += 50 {
				b[j] += 3
			}
		case 2:
			f.name = fmt.Sprintf("usr/lib9/name-2.%d.so", i)
			b = b[:at]
		case 3:
			f.name = "moved/" + filepath.Base(f.name)
		case 4:
			b = slices.Concat(b[at:], b[:at])
		}
		next = append(next, tarFile{f.name, b})
	}
	return append(next, tarFile{"empty", nil}, tarFile{"new", []byte("some new text")})
}

// writeFiles writes files to a tar, and below a directory if one is given.
func writeFiles(t *testing.T, name string, files []tarFile, dir string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		harness.Check(t, w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.content))}))
		_, err := w.Write(f.content)
		harness.Check(t, err)
		if dir != "" {
			path := filepath.Join(dir, f.name)
			harness.Check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			harness.Check(t, os.WriteFile(path, f.content, 0o600))
		}
	}
	harness.Check(t, w.Close())
	harness.Check(t, os.WriteFile(name, b.Bytes(), 0o600))
}

// dirTree is the regular files below a directory.
type dirTree string

type dirFile struct {
	*os.File
	size int64
}

// Size implements [tardiff.File].
func (f dirFile) Size() int64 { return f.size }

// Open implements [tardiff.Opener].
func (d dirTree) Open(path string) (tardiff.File, error) {
	f, err := os.OpenInRoot(string(d), path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return dirFile{f, info.Size()}, nil
}

// Files implements [tardiff.Tree].
func (d dirTree) Files(f func(path string, size int64) error) error {
	return fs.WalkDir(os.DirFS(string(d)), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return f(path, info.Size())
	})
}
