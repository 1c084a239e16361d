package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestDocsAreCurrent compares docs/cli and docs/man with what the code makes;
// "make docs" brings them up to date.
func TestDocsAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if code, _, errOut := veneerRun(t.Context(), append([]string{"gen-docs", dir}, release(t)...)...); code != exitOK {
		t.Fatal(errOut)
	}
	for _, sub := range []string{"cli", "man"} {
		made, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil || len(made) < 10 {
			t.Fatalf("%s: %d files, %v", sub, len(made), err)
		}
		want := map[string]bool{}
		for _, f := range made {
			want[f.Name()] = true
			name := filepath.Join(sub, f.Name())
			a, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join("../../docs", name))
			if err != nil || string(a) != string(b) {
				t.Errorf("docs/%s is not what the code makes (%v): run make docs", name, err)
			}
		}
		kept, err := os.ReadDir(filepath.Join("../../docs", sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range kept {
			if !want[f.Name()] {
				t.Errorf("docs/%s/%s belongs to no command: remove it", sub, f.Name())
			}
		}
	}
}

// release returns the flags for the newest release in the changelog, as the Makefile gives them: none before it.
func release(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^## .*$`).Find(data)
	m := regexp.MustCompile(`^## \[(\d.*)\] - ([\d-]+)$`).FindSubmatch(heading)
	if m == nil {
		return nil
	}
	return []string{"--release", string(m[1]), "--date", string(m[2])}
}
