package treetest

import (
	"context"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// Files walks a directory of a tree and returns all regular files below it
// that have bytes: there is nothing to remember of others.
func Files(ctx context.Context, b *testing.B, dir tree.Dir) []tree.Entry {
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
		files = append(files, Files(ctx, b, sub)...)
		if err := sub.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return files
}

// LocalFiles returns the entries of a directory on this host and of all below it.
func LocalFiles(b *testing.B, path string) []tree.Entry {
	b.Helper()
	l, err := disk.OpenLocal(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	}()
	_, dir, err := l.Root(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return Files(b.Context(), b, dir)
}
