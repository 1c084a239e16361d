package faults_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// filled is an embedded engine on a disk of its own, with an image that each fault must leave as it is, and a build
// that gives its name to another one.
type filled struct {
	*stores
	t    *testing.T
	disk *disk
	args []string
}

// noise makes a file of that size which cannot be compressed.
func noise(t *testing.T, path string, size int) {
	t.Helper()
	data := make([]byte, 0, size+sha256.Size)
	sum := sha256.Sum256([]byte(path))
	for len(data) < size {
		sum = sha256.Sum256(sum[:])
		data = append(data, sum[:]...)
	}
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data[:size], 0o644))
}

func newFilled(t *testing.T, mkfs ...string) *filled {
	t.Helper()
	dir := t.TempDir()
	d := newDisk(t, dir+"/disk", mkfs...)
	f := &filled{stores: &stores{t: t, dir: dir, root: d.dir + "/root", tmp: dir + "/tmp", snapshotter: "overlayfs"}, t: t, disk: d}
	must(t, os.Mkdir(f.tmp, 0o755))
	w := &world{t: t, dir: dir}
	w.write("old/file", "old\n")
	f.ok("build", "--from", "scratch", "--copy", "old:/app", "-t", "base:1")
	f.ok("build", "--from", "base:1", "--copy", "old:/srv", "-t", "app:v")
	noise(t, dir+"/new/big", 4<<20)
	w.write("new/sub/small", "small\n")
	f.args = []string{"build", "--from", "base:1", "--sync", dir + "/new:/app", "-t", "app:v"}
	return f
}

// fails looks at what a failed run left: an error of one line with all of words in it, the old images, and nothing
// else.
func (f *filled) fails(what string, code int, stderr string, before state, words ...string) {
	f.t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	last := lines[len(lines)-1]
	if code != 1 || len(lines) != 1 || !strings.HasPrefix(last, "veneer: ") {
		f.t.Errorf("%s: exit code %d, %d lines: %s", what, code, len(lines), stderr)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			f.t.Errorf("%s: the error does not say %q: %s", what, word, last)
		}
	}
	after := f.onDisk() // before anything else opens a snapshot
	for _, name := range []string{"app:v", "base:1"} {
		if out, err := f.command("verify", name).CombinedOutput(); err != nil {
			f.t.Errorf("%s: %s is not whole: %v: %s", what, name, err, out)
		}
	}
	// An error after the name was given, when the lease is released, leaves the new image.
	named := func(s state) string {
		for line := range s {
			if strings.HasPrefix(line, "image docker.io/library/app:v ") {
				return line
			}
		}
		return ""
	}
	diff := after.diff(before)
	if len(diff) > 0 && named(after) == named(before) {
		f.t.Errorf("%s left:\n\t%s", what, strings.Join(diff, "\n\t"))
	}
}

// again runs the build, which must work now, and puts the old image in its place.
func (f *filled) again() {
	f.t.Helper()
	f.ok(f.args...)
	f.ok("verify", "app:v")
	f.ok("build", "--from", "base:1", "--copy", "old:/srv", "-t", "app:v")
	f.ok("prune")
}

// shortage is a disk with little room, in steps.
type shortage struct {
	name string
	// fill leaves so much room.
	fill func(room int64) (remove func())
	// rooms are from none to more than is needed.
	rooms []int64
}

// upTo are so many numbers from 0 to the last.
func upTo(last, number int64) []int64 {
	rooms := make([]int64, number)
	for i := range rooms {
		rooms[i] = last * int64(i) / (number - 1)
	}
	return rooms
}

// sweep builds with each room, of which some must be too small and some large enough. It fails the test if not.
func (sh shortage) sweep(t *testing.T, where string, build func(room int64) (full bool)) {
	t.Helper()
	full := 0
	for _, room := range sh.rooms {
		if build(room) {
			full++
		}
	}
	if full == 0 || full == len(sh.rooms) {
		t.Errorf("%s: %d of %d rooms are too small: they are not around what is needed", sh.name, full, len(sh.rooms))
	}
	t.Logf("faults: full disk, %s, %s: %d rooms, %d too small", where, sh.name, len(sh.rooms), full)
}

// TestFullDisk builds with so much room that it ends at one write or another, and then with enough.
func TestFullDisk(t *testing.T) {
	f := newFilled(t, "-N", "1024")
	f.again()
	rooms, inodes := int64(5), int64(5)
	if soak() {
		rooms, inodes = 60, 25
	}
	for _, sh := range []shortage{
		{"bytes", f.disk.fill, upTo(16<<20, rooms)},     // some 8 MiB: the layer, the snapshot, and what stands beside them
		{"inodes", f.disk.fillInodes, upTo(48, inodes)}, // it takes some 16
	} {
		sh.sweep(t, "embedded", func(room int64) (full bool) {
			before := f.onDisk()
			remove := sh.fill(room)
			o := finish(t, f.command(f.args...), nil)
			remove()
			if o.code != 0 {
				if sh.name == "inodes" {
					// containerd's content store forgets an ingest that it cannot begin, but not its directory: the next
					// start removes it.
					f.ok("prune")
				}
				f.fails(fmt.Sprintf("room for %d %s", room, sh.name), o.code, o.stderr, before, "no space left on device")
			} else {
				f.ok("verify", "app:v")
			}
			f.again()
			return o.code != 0
		})
	}
}

// fill leaves room for so many bytes, in whole blocks.
func (d *disk) fill(room int64) (remove func()) {
	d.t.Helper()
	d.settle()
	path := filepath.Join(d.dir, "filler")
	file, err := os.Create(path)
	must(d.t, err)
	const block = 4096
	end := int64(0)
	for more := d.free() - room; more >= block; more = d.free() - room {
		err := unix.Fallocate(int(file.Fd()), 0, end, more)
		for ; errors.Is(err, unix.ENOSPC) && more > block; more -= block { // its own metadata takes some
			err = unix.Fallocate(int(file.Fd()), 0, end, more-block)
		}
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		must(d.t, err)
		end += more
	}
	must(d.t, file.Close())
	return func() { must(d.t, os.Remove(path)) }
}

// free is how many bytes are.
func (d *disk) free() int64 {
	d.t.Helper()
	var fs unix.Statfs_t
	must(d.t, unix.Statfs(d.dir, &fs))
	return int64(fs.Bavail) * fs.Bsize
}

// fillInodes leaves so many inodes.
func (d *disk) fillInodes(room int64) (remove func()) {
	d.t.Helper()
	dir := filepath.Join(d.dir, "fillers")
	must(d.t, os.Mkdir(dir, 0o700))
	var fs unix.Statfs_t
	must(d.t, unix.Statfs(d.dir, &fs))
	for i := range int64(fs.Ffree) - room {
		must(d.t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
	}
	return func() { must(d.t, os.RemoveAll(dir)) }
}

// TestDiskErrors has each system call that changes or syncs what is on disk fail by itself, and reads of the source.
func TestDiskErrors(t *testing.T) {
	f := newFilled(t)
	f.ok("prune")
	source := f.dir + "/new"
	for _, c := range []struct {
		name  string
		errno unix.Errno
		hit   func(sysCall) bool
		words []string
	}{
		{"writes, full", unix.ENOSPC, func(c sysCall) bool {
			return (c.name == "write" || c.name == "pwrite64") && strings.HasPrefix(c.path, f.root+"/") && !strings.Contains(c.path, "/cache/")
		}, []string{"no space left on device"}},
		{"writes", unix.EIO, func(c sysCall) bool {
			return (c.name == "write" || c.name == "pwrite64") && strings.HasPrefix(c.path, f.root+"/") && !strings.Contains(c.path, "/cache/")
		}, []string{"input/output error"}},
		{"writes of the database, full", unix.ENOSPC, func(c sysCall) bool { return c.name == "pwrite64" && c.path == f.root+"/meta.db" }, []string{"no space left on device"}},
		{"syncs", unix.EIO, func(c sysCall) bool {
			return c.syncs() && strings.HasPrefix(c.path, f.root) && !strings.Contains(c.path, "/cache/")
		}, []string{"input/output error"}},
		{"source", unix.EIO, func(c sysCall) bool {
			return (c.name == "read" || c.name == "pread64" || c.name == "getdents64") && strings.HasPrefix(c.path, source)
		}, []string{source, "input/output error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t, f.stores.t = t, t
			total := f.inject(c.errno, c.hit, 0).hits
			step := 1
			if !soak() {
				step = max(1, total/4)
			}
			tried, tolerated := 0, 0
			f.again()
			before := f.onDisk()
			for n := 1; n <= total; n += step {
				got := f.inject(c.errno, c.hit, n)
				if got.hits < n {
					continue
				}
				tried++
				if got.code == 0 { // after success, or where it does not matter
					tolerated++
					f.ok("verify", "app:v")
				} else {
					f.fails(fmt.Sprintf("%d of %d, %v", n, total, got.at), got.code, got.stderr, before, c.words...)
				}
				f.again()
			}
			t.Logf("faults: %s: %v at %d of %d calls, %d of them without harm", c.name, c.errno, tried, total, tolerated)
		})
	}
	f.t, f.stores.t = t, t
}

// injected is how a run went of which one call failed.
type injected struct {
	hits, code int
	at         sysCall
	stderr     string
}

// inject runs the build and has the nth call that hit is true of fail.
func (f *filled) inject(errno unix.Errno, hit func(sysCall) bool, n int) injected {
	f.t.Helper()
	var got injected
	status, stderr := judged(f.t, f.command(f.args...), func(c sysCall) verdict {
		if !hit(c) {
			return 0
		}
		if got.hits++; got.hits == n {
			got.at = c
			return verdict(errno)
		}
		return 0
	})
	got.code, got.stderr = status.ExitStatus(), stderr
	return got
}
