package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/run"
)

// files are what tests mount: a directory with d/f, and a file.
func files(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(t.TempDir(), "secret")
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "d/f"), []byte("in it\n"), 0o644),
		os.WriteFile(file, []byte("hush\n"), 0o400))
	if err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func testStubs(t *testing.T, f *fixture) {
	dir, file := files(t)
	i := f.image(t, nil)
	p := run.Process{Mounts: []run.Mount{
		{Target: "/run/secrets/one", Source: bind(file), ReadOnly: true},
		{Target: "/run/secrets/two", Source: bind(file), ReadOnly: true},
		{Target: "/cache/a/b", Source: bind(dir)},
		{Target: "/cache/a/c", Source: []mount.Mount{{Type: "tmpfs", Source: "tmpfs"}}},
		{Target: "/etc/hostname", Source: bind(file)},
	}}
	out := f.must(t, i, p, "cat /run/secrets/one /run/secrets/two /etc/hostname /cache/a/b/d/f; touch /cache/a/b/new /cache/a/c/new")
	if out != "hush\nhush\nhush\nin it\n" {
		t.Errorf("got %q", out)
	}
	if got := i.written(t, f.lower); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	// What the process puts beside them stays, and so do the directories.
	f.must(t, i, p, "echo x >/run/secrets/three; echo y >/cache/mine")
	want := []string{"/cache", "/cache/mine", "/run", "/run/secrets", "/run/secrets/three"}
	got := i.written(t, f.lower)
	if !slices.Equal(slices.DeleteFunc(got, func(n string) bool { return n == "/run" }), slices.DeleteFunc(want, func(n string) bool { return n == "/run" })) {
		t.Errorf("written: %v", got)
	}
}

func testMounts(t *testing.T, f *fixture) {
	dir, file := files(t)
	over := overlay(t, t.TempDir(), dir)
	p := run.Process{User: "games", Mounts: []run.Mount{
		{Target: "/ro", Source: bind(dir), ReadOnly: true},
		{Target: "/twice", Source: bind(dir)},
		{Target: "/twice", Source: over.mounts},
		{Target: "/ro/d", Source: []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=65536"}}}},
		{Target: "/new/tmp", Source: []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=65536"}}}},
		{Target: "/new/own", Source: []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=0711"}}}},
		{Target: "/dev/shm", Source: []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1048576", "mode=1777"}}}},
		{Target: "/dev/secret", Source: bind(file), ReadOnly: true},
	}}
	i := f.image(t, nil)
	out := f.must(t, i, p, "touch /ro/x 2>&1; cat /twice/d/f; ls /ro/d; echo x >/new/tmp/y; stat -c %a /new/tmp /new/own; df -k /dev/shm | tail -1; cat /dev/secret 2>&1; true")
	for _, want := range []string{"'/ro/x': Read-only", "in it\n", "1777\n711\n", "tmpfs ", "1024 ", "secret: Permission denied"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if got := i.written(t, f.lower); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
	p = run.Process{Mounts: []run.Mount{{Target: "/over", Source: over.mounts}}}
	f.must(t, i, p, "echo new >/over/new")
	if data, err := os.ReadFile(filepath.Join(over.upper, "new")); err != nil || string(data) != "new\n" {
		t.Errorf("%v, %q", err, data)
	}
	for _, m := range []run.Mount{
		{Target: "relative", Source: bind(dir)},
		{Target: "/", Source: bind(dir)},
		{Target: "/x/..", Source: bind(dir)},
		{Target: "/x"},
		{Target: "/x", Source: bind(filepath.Join(dir, "absent"))},
		{Target: "/x", Source: []mount.Mount{{Type: "format/erofs", Source: dir}}},
	} {
		if err := f.runner.Run(f.ctx, i.mounts, run.Process{Args: []string{"true"}, Mounts: []run.Mount{m}}); err == nil {
			t.Errorf("%v is taken", m)
		}
	}
}

func testSubpath(t *testing.T, f *fixture) {
	dir, _ := files(t)
	host := t.TempDir()
	secret := filepath.Join(host, "d")
	if err := errors.Join(os.Mkdir(secret, 0o755), os.WriteFile(filepath.Join(secret, "f"), []byte("the host's\n"), 0o644),
		os.Symlink(host, filepath.Join(dir, "out")), os.Symlink("../../../.."+host, filepath.Join(dir, "up")), os.Symlink("/d", filepath.Join(dir, "in"))); err != nil {
		t.Fatal(err)
	}
	i := f.image(t, nil)
	try := func(source []mount.Mount, path string) (string, error) {
		p := run.Process{Mounts: []run.Mount{{Target: "/m", Source: source, Subpath: path, ReadOnly: true}}}
		return f.sh(t, i, p, "cat /m/f 2>/dev/null || cat /m")
	}
	for _, source := range [][]mount.Mount{bind(dir), overlay(t, t.TempDir(), dir).mounts} {
		for _, path := range []string{"d", "/d/", "d/f", "in", "../../d", "./in/../d"} {
			if out, err := try(source, path); err != nil || out != "in it\n" {
				t.Errorf("%s: %v, %q", path, err, out)
			}
		}
		for _, path := range []string{"out/d", "up/d", "absent", "d/f/x"} {
			if out, err := try(source, path); err == nil || strings.Contains(out, "host") {
				t.Errorf("%s: %v, %q", path, err, out)
			}
		}
	}
}

func testEscapes(t *testing.T, f *fixture) {
	host := t.TempDir()
	join := filepath.Join
	if err := errors.Join(os.WriteFile(join(host, "file"), []byte("the host's\n"), 0o644), os.Mkdir(join(host, "dir"), 0o755)); err != nil {
		t.Fatal(err)
	}
	dir, secret := files(t)
	mounts := []run.Mount{{Target: "/data/x", Source: bind(dir)}, {Target: "/s", Source: bind(secret)}, {Target: "/deep/up/y", Source: bind(dir)}}
	for name, setup := range map[string]func(root string) error{
		"resolv.conf": func(root string) error {
			return errors.Join(os.RemoveAll(join(root, "etc/resolv.conf")), os.Symlink(join(host, "file"), join(root, "etc/resolv.conf")),
				os.RemoveAll(join(root, "etc/hosts")), os.Symlink(join(host, "made"), join(root, "etc/hosts")))
		},
		"targets": func(root string) error {
			return errors.Join(os.Symlink(host, join(root, "data")), os.Symlink(join(host, "file"), join(root, "s")),
				os.Mkdir(join(root, "deep"), 0o755), os.Symlink("../../../../../../../.."+host, join(root, "deep/up")))
		},
		"cwd": func(root string) error {
			return os.Symlink(join("/../../../..", host), join(root, "cwd"))
		},
		"dev": func(root string) error {
			return errors.Join(os.RemoveAll(join(root, "dev")), os.Symlink(host, join(root, "dev")))
		},
		"etc": func(root string) error {
			return errors.Join(os.RemoveAll(join(root, "etc")), os.Symlink(host, join(root, "etc")))
		},
	} {
		// What it does is of no matter, but it does nothing to the host.
		out, err := f.sh(t, f.image(t, setup), run.Process{Cwd: "/cwd/new", Mounts: mounts}, "cat /data/file /s; echo x >>/data/file; echo x >>/dev/file; echo x >/etc/file; touch new")
		t.Logf("%s: %v, %q", name, err, out)
		if strings.Contains(out, "the host's") {
			t.Errorf("%s: the host's file was read: %s", name, out)
		}
		if got := tree(t, host); !slices.Equal(got, []string{"dir", "file"}) {
			t.Errorf("%s: the host's directory has %v", name, got)
		}
		if data, err := os.ReadFile(join(host, "file")); err != nil || string(data) != "the host's\n" {
			t.Errorf("%s: the host's file: %v, %q", name, err, data)
		}
	}
	testHostileFiles(t, f)
}

// testHostileFiles has files in the places of those that are read.
func testHostileFiles(t *testing.T, f *fixture) {
	for name, put := range map[string]func(path string) error{
		"fifo":  func(path string) error { return unix.Mkfifo(path, 0o644) },
		"large": func(path string) error { return os.WriteFile(path, make([]byte, 11<<20), 0o644) },
		"loop":  func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"device": func(path string) error {
			return unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) // /dev/zero: without an end
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		for _, file := range []string{"etc/passwd", "etc/group"} {
			i := f.image(t, func(root string) error {
				path := filepath.Join(root, file)
				return errors.Join(os.Remove(path), put(path))
			})
			begin := time.Now()
			if why := f.fails(t, i, run.Process{User: "games"}); !strings.Contains(why, file) {
				t.Errorf("%s as %s: %s", name, file, why)
			}
			t.Logf("%s as %s: %s", name, file, time.Since(begin))
		}
	}
	deep := run.Process{Cwd: strings.Repeat("/d", 300)}
	if why := f.fails(t, f.image(t, nil), deep); !strings.Contains(why, "more than 256 directories") {
		t.Errorf("a deep working directory: %s", why)
	}
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
