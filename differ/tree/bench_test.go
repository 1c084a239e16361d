package tree_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
)

// goSource is a real directory of thousands of files: the Go tree's src.
func goSource(b *testing.B) string {
	b.Helper()
	root, err := exec.CommandContext(b.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no go command to ask for GOROOT")
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src")
}

// entries walks a directory of a tree and returns all regular files below it
// that have bytes: there is nothing to remember of others.
func entries(ctx context.Context, b *testing.B, dir tree.Dir) []tree.Entry {
	b.Helper()
	list, err := dir.Entries(ctx)
	if err != nil {
		b.Fatal(err)
	}
	var files []tree.Entry
	for _, e := range list {
		if e.IsRegular() && e.Size > 0 {
			files = append(files, e)
		}
		if !e.IsDir() {
			continue
		}
		sub, err := dir.Sub(e.Name)
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, entries(ctx, b, sub)...)
		if err := sub.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return files
}

func walkLocal(b *testing.B, path string) []tree.Entry {
	b.Helper()
	l, err := tree.OpenLocal(path)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	_, dir, err := l.Root(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return entries(b.Context(), b, dir)
}

// BenchmarkWalk lists a directory and all below it, one directory after the
// other.
func BenchmarkWalk(b *testing.B) {
	path := goSource(b)
	b.ReportAllocs()
	files := 0
	for b.Loop() {
		files = len(walkLocal(b, path))
	}
	b.ReportMetric(float64(files), "files")
}

// BenchmarkListings is what a later build pays for the base's directories.
func BenchmarkListings(b *testing.B) {
	s, err := tree.OpenStack([]string{goSource(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	_, dir, err := s.Root(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	learnt := tree.NewListings()
	s.Remember(learnt)
	files := len(entries(b.Context(), b, dir))
	var stored bytes.Buffer
	if err := learnt.Save(&stored); err != nil {
		b.Fatal(err)
	}
	b.Run("Save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := learnt.Save(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stored.Len())/float64(files), "B/file")
	})
	b.Run("LoadAndWalk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			loaded, err := tree.LoadListings(bytes.NewReader(stored.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			s.Remember(loaded)
			if got := len(entries(b.Context(), b, dir)); got != files || loaded.Changed() {
				b.Fatalf("%d files of %d are remembered", got, files)
			}
		}
	})
}

// BenchmarkIndexBuilder makes the index of a layer of many files.
func BenchmarkIndexBuilder(b *testing.B) {
	files := walkLocal(b, goSource(b))
	b.ReportAllocs()
	for b.Loop() {
		x, err := tree.NewIndexBuilder()
		if err != nil {
			b.Fatal(err)
		}
		for i := range files {
			rec := tree.Record{Path: fmt.Sprintf("src/%d/%s", i/50, files[i].Name), Meta: files[i].Meta, Digest: tree.Digest{1}}
			if err := x.Add(&rec); err != nil {
				b.Fatal(err)
			}
		}
		if err := x.Finish(tree.Digest{1}); err != nil {
			b.Fatal(err)
		}
		if err := x.Encode(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory is what a build pays for remembering the digests of the
// files of a tree.
func BenchmarkMemory(b *testing.B) {
	files := walkLocal(b, goSource(b))
	m := tree.NewMemory()
	for i := range files {
		m.AddDigest(&files[i], tree.Digest{1})
	}
	var stored bytes.Buffer
	if err := m.Save(&stored); err != nil {
		b.Fatal(err)
	}
	b.Run("Save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var out bytes.Buffer
			if err := m.Save(&out); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stored.Len())/float64(len(files)), "B/file")
	})
	b.Run("LoadAndAsk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			loaded, err := tree.LoadMemory(bytes.NewReader(stored.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			for i := range files {
				if !loaded.Digest(&files[i]).Known() {
					b.Fatalf("%s is forgotten", files[i].Name)
				}
			}
		}
	})
}
