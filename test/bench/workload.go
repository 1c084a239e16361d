package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// workload is the trees that images are built from. They are copies: measuring changes them.
type workload struct {
	v1, v2  string
	touched string // as v1, but for mtimes
	files   int
	bytes   int64
	// changed are the files that v2 has otherwise or alone, with their sizes: relative paths.
	changed        []file
	added, deleted int
	changedBytes   int64
	origin         string // what the trees were made of
	touches        int
}

type file struct {
	path string
	size int64
}

// moduleLimit leaves out modules of generated code by the hundred megabytes: no application is made of them.
const moduleLimit = 20 << 20

func makeWorkload(ctx context.Context, w *world) (*workload, error) {
	t := &workload{v1: w.path("v1"), v2: w.path("v2"), touched: w.path("touched")}
	if w.v1 != "" {
		t.origin = fmt.Sprintf("%s and %s", w.v1, w.v2)
		err := errors.Join(copyTree(ctx, w.v1, t.v1), copyTree(ctx, w.v2, t.v2))
		if err != nil {
			return nil, err
		}
		if err := t.compare(); err != nil {
			return nil, err
		}
	} else {
		t.origin = "the Go tree and the module cache"
		if err := collectTree(ctx, t.v1, w.files); err != nil {
			return nil, err
		}
		if err := copyTree(ctx, t.v1, t.v2); err != nil {
			return nil, err
		}
		if err := t.alter(); err != nil {
			return nil, err
		}
	}
	if err := copyTree(ctx, t.v1, t.touched); err != nil {
		return nil, err
	}
	all, err := listFiles(t.v2)
	if err != nil {
		return nil, err
	}
	t.files, t.bytes = len(all), total(all)
	t.changedBytes = total(t.changed)
	w.say("tree: %d files, %.0f MB; second state: %d changed or added (%d added), %d deleted, %.0f MB of changed files",
		t.files, mb(t.bytes), len(t.changed), t.added, t.deleted, mb(t.changedBytes))
	return t, nil
}

// collectTree copies the Go tree and modules of this repository and its tools, in order, up to a number of files: of a
// Go tree that has more than those, as many of its packages as fit.
func collectTree(ctx context.Context, dest string, files int) error {
	// A program built with -trimpath does not know it.
	goroot, err := quiet(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	goroot = strings.TrimSpace(goroot)
	inside, err := listFiles(goroot)
	if err != nil {
		return err
	}
	parts := []part{{goroot, "go"}}
	if len(inside) > files {
		if parts, err = packages(filepath.Join(goroot, "src")); err != nil {
			return err
		}
	}
	modules, err := modules(ctx)
	if err != nil {
		return err
	}
	for _, dir := range modules {
		parts = append(parts, part{dir, dir[strings.Index(dir, "/pkg/mod/")+1:]})
	}
	return copyParts(ctx, parts, dest, files)
}

// part is a directory that goes into the tree, and where.
type part struct{ dir, at string }

// packages are the directories of the Go tree's sources.
func packages(src string) ([]part, error) {
	entries, err := os.ReadDir(src)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, entry := range entries {
		if entry.IsDir() {
			parts = append(parts, part{filepath.Join(src, entry.Name()), filepath.Join("go", "src", entry.Name())})
		}
	}
	return parts, nil
}

// copyParts copies the directories that fit, one after another, until there are files enough.
func copyParts(ctx context.Context, parts []part, dest string, files int) error {
	left := files
	for _, p := range parts {
		inside, err := listFiles(p.dir)
		if err != nil {
			return err
		}
		if p.at != "go" && total(inside) > moduleLimit || len(inside) > left {
			continue
		}
		if err := copyTree(ctx, p.dir, filepath.Join(dest, p.at)); err != nil {
			return err
		}
		if left -= len(inside); left < files/1000 {
			break
		}
	}
	return nil
}

// modules returns the directories of the modules that this machine has, sorted by name.
func modules(ctx context.Context) ([]string, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return nil, err
	}
	mods, err := filepath.Glob(filepath.Join(root, "tools", "*", "go.mod"))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, mod := range append(mods, filepath.Join(root, "go.mod")) {
		// Out of the main module: -C must be seen before anything is read.
		out, err := quiet(ctx, "go", "-C", filepath.Dir(mod), "list", "-m", "-f", "{{if not .Main}}{{.Dir}}{{end}}", "all")
		if err != nil {
			return nil, err
		}
		for dir := range strings.FieldsSeq(out) {
			if strings.Contains(dir, "/pkg/mod/") {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// copyTree copies what is in src into dest, with times and modes.
func copyTree(ctx context.Context, src, dest string) error {
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", src+"/.", dest).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", src, err, lastLines(string(out), 5))
	}
	return nil
}

// listFiles returns the regular files below a directory, sorted by path.
func listFiles(dir string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, file{path[len(dir)+1:], info.Size()})
		return nil
	})
	return files, err
}

func total(files []file) (bytes int64) {
	for _, f := range files {
		bytes += f.size
	}
	return bytes
}

// changedPerFile is how many bytes of changed files a tree has for each of its files: 75 MB for 70,000, as the release
// of a real application that the targets are set for. Those compressed to a seventh, which is what text does.
const changedPerFile = 75_000_000 / 70_000

// alter makes v2 of a copy of v1, in the proportions of that release: one percent of the files changed, and the largest
// texts, as if code were generated again; a few dozen added, a few deleted.
func (t *workload) alter() error {
	files, err := listFiles(t.v2)
	if err != nil {
		return err
	}
	const every, added, deleted = 94, 41, 7
	if len(files) < 2*every*deleted {
		return fmt.Errorf("%d files are too few; set BENCH_FILES higher", len(files))
	}
	taken := make(map[string]bool)
	for i := range deleted {
		f := files[i*every+2]
		if err := os.Remove(filepath.Join(t.v2, f.path)); err != nil {
			return err
		}
		taken[f.path] = true
	}
	for i := range added {
		f := files[(i*len(files)/added/every)*every+1]
		data, err := os.ReadFile(filepath.Join(t.v2, f.path))
		if err != nil {
			return err
		}
		f.path += ".added"
		if err := os.WriteFile(filepath.Join(t.v2, f.path), data, 0o644); err != nil {
			return err
		}
		t.changed = append(t.changed, f)
	}
	for i := 0; i < len(files); i += every {
		t.changed = append(t.changed, files[i])
		taken[files[i].path] = true
	}
	limit := int64(len(files))*changedPerFile - total(t.changed)
	bySize := slices.SortedFunc(slices.Values(files), func(a, b file) int { return int(b.size - a.size) })
	for _, f := range bySize {
		if f.size < 64<<10 {
			break
		}
		if f.size > limit || taken[f.path] {
			continue
		}
		text, err := isText(filepath.Join(t.v2, f.path))
		if err != nil {
			return err
		}
		if text {
			t.changed = append(t.changed, f)
			limit -= f.size
		}
	}
	t.added, t.deleted = added, deleted
	return t.refresh()
}

// isText tells as git does: no zero byte among the first 8000.
func isText(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	head, err := io.ReadAll(io.LimitReader(f, 8000))
	return !bytes.Contains(head, []byte{0}), errors.Join(err, f.Close())
}

// compare finds what two given states differ in.
func (t *workload) compare() error {
	before, err := listFiles(t.v1)
	if err != nil {
		return err
	}
	after, err := listFiles(t.v2)
	if err != nil {
		return err
	}
	sizes := make(map[string]int64, len(before))
	for _, f := range before {
		sizes[f.path] = f.size
	}
	kept := 0
	for _, f := range after {
		size, ok := sizes[f.path]
		if ok {
			kept++
		} else {
			t.added++
		}
		same := ok && size == f.size
		if same {
			if same, err = sameFile(filepath.Join(t.v1, f.path), filepath.Join(t.v2, f.path)); err != nil {
				return err
			}
		}
		if !same {
			t.changed = append(t.changed, f)
		}
	}
	t.deleted = len(before) - kept
	return nil
}

func sameFile(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	return string(x) == string(y), err
}

// refresh changes v2's changed files once more, so that no tool has seen their bytes before; every other one by a
// line at its end, every other one in its middle.
func (t *workload) refresh() error { return refresh(t.v2, t.changed) }

func refresh(dir string, files []file) error {
	for i, f := range files {
		if err := changeFile(filepath.Join(dir, f.path), f.size, i%2 == 0); err != nil {
			return fmt.Errorf("change %s: %w", f.path, err)
		}
	}
	return nil
}

func changeFile(path string, size int64, atEnd bool) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ETXTBSY) {
		return fmt.Errorf("%w (is it in use?)", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	mark := fmt.Appendf(nil, "\n// changed %020d\n", time.Now().UnixNano())
	at := size
	if !atEnd && size > int64(2*len(mark)) {
		at = size / 2
	}
	_, err = out.WriteAt(mark, at)
	return err
}

// touch sets other mtimes on every file of the touched tree.
func (t *workload) touch() error {
	t.touches++
	to := time.Now().Add(-time.Duration(t.touches) * time.Hour)
	files, err := listFiles(t.touched)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Chtimes(filepath.Join(t.touched, f.path), to, to); err != nil {
			return err
		}
	}
	return nil
}
