package veneer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/engine"
)

// watched is a run of veneer.Watch.
type watched struct {
	root string
	req  veneer.BuildRequest

	mu      sync.Mutex
	last    digest.Digest
	endings []veneer.WatchEnding
	broken  error // what opening the engine fails with
}

// startWatch builds a base of the sources as they are, and watches them until the test
// ends.
func startWatch(t *testing.T, targets ...veneer.TargetSpec) *watched {
	t.Helper()
	w := &watched{root: t.TempDir()}
	w.req = veneer.BuildRequest{
		Base: "base:1", TargetOptions: veneer.TargetOptions{Targets: targets},
		LayerOptions: veneer.LayerOptions{Epoch: epoch(1 << 36)}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:dev"}, NoUnpack: true},
	}
	base := w.req
	base.Base, base.Tags = "scratch", []string{"base:1"}
	if _, err := w.build(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- veneer.Watch(ctx, veneer.WatchRequest{
			Build: &w.req, Open: w.open, Settle: 20 * time.Millisecond, Whole: -1,
			Ended: func(_ context.Context, e veneer.WatchEnding) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if e.Result != nil {
					w.last = e.Result.Digest
				}
				w.endings = append(w.endings, e)
				return nil
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.rests(t)
	return w
}

func (w *watched) open(ctx context.Context, do func(context.Context, *engine.Engine) error) (err error) {
	w.mu.Lock()
	err = w.broken
	w.mu.Unlock()
	if err != nil {
		return err
	}
	e, err := engine.Open(ctx, engine.Options{Mode: engine.Embedded, Root: w.root})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return do(e.Context(ctx), e)
}

func (w *watched) build(ctx context.Context, req veneer.BuildRequest) (res *veneer.Result, err error) {
	err = w.open(ctx, func(ctx context.Context, e *engine.Engine) error {
		res, err = veneer.Build(ctx, e, req)
		return err
	})
	return res, err
}

// rests waits until the image is the one that a build of its own makes, which knows
// nothing.
func (w *watched) rests(t *testing.T) {
	t.Helper()
	fresh := w.req
	fresh.Tags, fresh.NoCache = nil, true
	want, err := w.build(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	for range 1200 {
		w.mu.Lock()
		last := w.last
		w.mu.Unlock()
		if last == want.Digest {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Fatalf("the image is %s, and a build makes %s; %d builds, the last: %+v", w.last, want.Digest, len(w.endings), w.endings[len(w.endings)-1])
}

// ended waits for an ending after which found returns true.
func (w *watched) ended(t *testing.T, what string, found func(veneer.WatchEnding) bool) {
	t.Helper()
	for range 1200 {
		w.mu.Lock()
		all := w.endings
		w.endings = nil
		w.mu.Unlock()
		for _, e := range all {
			if found(e) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no build ended so: %s", what)
}

// TestWatchProperty: at rest, the image is that of a build of its own, whatever happened
// to the sources.
func TestWatchProperty(t *testing.T) {
	rounds := 4
	if os.Getenv("VENEER_SOAK") != "" {
		rounds = 400
	}
	app, conf := t.TempDir(), t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %x", seed)
	e := &editor{Rand: rand.New(rand.NewPCG(seed, 2))}
	for range 60 {
		e.edit(t, app)
		e.edit(t, conf)
	}
	w := startWatch(t,
		veneer.TargetSpec{Op: veneer.OpSync, Source: app, Dest: "/app", Exclude: []string{"**/*.tmp"}},
		veneer.TargetSpec{Op: veneer.OpCopy, Source: conf, Dest: "/etc/conf/"},
	)
	for range rounds {
		for range e.IntN(40) {
			e.edit(t, []string{app, conf}[e.IntN(2)])
			if e.IntN(4) == 0 {
				time.Sleep(time.Duration(e.IntN(60)) * time.Millisecond)
			}
		}
		w.rests(t)
	}
}

// editor makes random changes.
type editor struct{ *rand.Rand }

func (e *editor) edit(t *testing.T, dir string) {
	t.Helper()
	dirs := []string{dir}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Count(path, "/") < strings.Count(dir, "/")+6 {
			dirs = append(dirs, path)
		}
		return nil
	})
	at := func(kind string) string {
		name := fmt.Sprintf("%s%d", kind, e.IntN(5))
		if kind == "f" && e.IntN(6) == 0 {
			name += ".tmp"
		}
		return filepath.Join(dirs[e.IntN(len(dirs))], name)
	}
	var err error
	switch file := at("f"); e.IntN(14) {
	case 0, 1, 2:
		err = os.WriteFile(file, make([]byte, e.IntN(3)*100), 0o644)
	case 3:
		err = os.Remove(file)
	case 4, 5:
		err = os.MkdirAll(filepath.Join(at("d"), fmt.Sprint("d", e.IntN(3))), 0o755)
	case 6:
		err = os.RemoveAll(at("d"))
	case 7:
		err = os.Rename(at("d"), at("d"))
	case 8:
		err = os.Rename(file, at("f"))
	case 9:
		err = os.Chmod([]string{file, dirs[e.IntN(len(dirs))]}[e.IntN(2)], []os.FileMode{0o700, 0o755, 0o640 | os.ModeSetgid}[e.IntN(2)])
	case 10:
		err = os.Symlink([]string{"f1", "d2", "../x"}[e.IntN(3)], file)
	case 11:
		err = os.Link(file, at("f"))
	case 12:
		err = os.Truncate(file, int64(e.IntN(3))<<16)
	case 13:
		err = store(file)
	}
	if err != nil && !errors.As(err, new(syscall.Errno)) {
		t.Fatal(err)
	}
}

// store changes a file through a mapping.
func store(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return err
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	data[10]++
	return syscall.Munmap(data)
}

// TestWatchHardships: many changes at once, directories that move, vanish and come back,
// other patterns, an engine that is away.
func TestWatchHardships(t *testing.T) {
	top := t.TempDir()
	app, file := filepath.Join(top, "app"), filepath.Join(top, "one")
	write(t, app, "a/b/f", "x")
	write(t, app, ".ignore", "*.log\n")
	write(t, top, "one", "1")
	w := startWatch(t,
		veneer.TargetSpec{Op: veneer.OpSync, Source: app, Dest: "/app", IgnoreFile: ".ignore"},
		veneer.TargetSpec{Op: veneer.OpCopy, Source: file, Dest: "/etc/one"},
	)
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		name string
		do   func()
	}{
		{"10,000 files in 100 directories at once", func() {
			for i := range 10_000 {
				name := fmt.Sprintf("many/d%d/f%d", i%100, i)
				if i < 100 {
					must(os.MkdirAll(filepath.Join(app, filepath.Dir(name)), 0o755))
				}
				must(os.WriteFile(filepath.Join(app, name), []byte(name), 0o644))
			}
		}},
		{"a directory that moves, and a change in it", func() {
			must(os.Rename(filepath.Join(app, "many"), filepath.Join(app, "a/moved")))
			write(t, app, "a/moved/d7/f7", "changed")
		}},
		{"directories that change places", func() {
			must(os.Rename(filepath.Join(app, "a/moved/d1"), filepath.Join(app, "x")), os.Rename(filepath.Join(app, "a/moved/d2"), filepath.Join(app, "a/moved/d1")),
				os.Rename(filepath.Join(app, "x"), filepath.Join(app, "a/moved/d2")))
			write(t, app, "a/moved/d1/new", "new")
			write(t, app, "a/moved/d2/new", "other")
		}},
		{"they go", func() { must(os.RemoveAll(filepath.Join(app, "a/moved"))) }},
		{"what is left out", func() { write(t, app, "a/b/x.log", "log") }},
		{"other patterns", func() { write(t, app, ".ignore", "b\n") }},
		{"a file alone", func() { write(t, top, "one", "2") }},
		{"a file that is replaced", func() {
			write(t, top, "next", "3")
			must(os.Rename(filepath.Join(top, "next"), file))
		}},
		{"another directory takes the place", func() {
			write(t, top, "new/a/b/f", "new")
			write(t, top, "new/.ignore", "")
			must(os.Rename(app, app+".old"), os.Rename(filepath.Join(top, "new"), app))
		}},
		{"and changes", func() { write(t, app, "a/b/f", "newer") }},
	}
	for _, s := range steps {
		s.do()
		if t.Run(s.name, w.rests); t.Failed() {
			return
		}
	}
	must(os.Rename(app, app+".away"))
	w.ended(t, "the source is gone", func(e veneer.WatchEnding) bool { return errors.Is(e.Err, fs.ErrNotExist) })
	must(os.Rename(app+".away", app))
	write(t, app, "back", "again")
	w.rests(t)

	w.mu.Lock()
	w.broken = errors.New("the daemon is away")
	w.mu.Unlock()
	write(t, app, "a/b/f", "while it was away")
	w.ended(t, "no engine", func(e veneer.WatchEnding) bool { return errors.Is(e.Err, w.broken) && e.Retry > 0 })
	w.mu.Lock()
	w.broken = nil
	w.mu.Unlock()
	w.rests(t)
}

func TestWatchRefuses(t *testing.T) {
	open := func(context.Context, func(context.Context, *engine.Engine) error) error { return nil }
	for name, req := range map[string]veneer.WatchRequest{
		"nothing to build": {Open: open},
		"no engine":        {Build: &veneer.BuildRequest{Base: "x"}},
		"no base":          {Build: &veneer.BuildRequest{}, Open: open},
		"standard input": {Open: open, Build: &veneer.BuildRequest{Base: "x", TargetOptions: veneer.TargetOptions{
			Targets: []veneer.TargetSpec{{Type: veneer.SourceTar, Source: "-", Dest: "/"}},
		}}},
		"nothing of this host": {Open: open, Build: &veneer.BuildRequest{Base: "x", TargetOptions: veneer.TargetOptions{
			Targets: []veneer.TargetSpec{{Op: veneer.OpDelete, Dest: "/x"}},
		}}},
		"no directory":           {Open: open, Context: &veneer.WatchContext{Dir: filepath.Join(t.TempDir(), "none")}},
		"a file for a directory": {Open: open, Context: &veneer.WatchContext{Dir: "/proc/self/exe"}},
	} {
		if err := veneer.Watch(t.Context(), req); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
