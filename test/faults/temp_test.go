package faults_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// newTemp mounts a small tmpfs upon a directory until the test is done.
func newTemp(t *testing.T, dir string) *disk {
	t.Helper()
	must(t, unix.Mount("veneer-test", dir, "tmpfs", 0, "size=16m,nr_inodes=64"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	return &disk{t: t, dir: dir}
}

// TestFullTemp runs each command with a full TMPDIR, in bytes and in inodes: it needs none of it, or says what is full
// and leaves nothing.
func TestFullTemp(t *testing.T) {
	harness.RequireRoot(t)
	w := newWorld(t, harness.Containerd2, "overlayfs")
	noise(t, w.at("packed/noise"), 8<<20)
	sh(t, "tar", "-C", w.at("packed"), "-czf", w.at("packed.tar.gz"), ".")
	packed := fixed("build", "--from", "base:2", "--copy", "type=tar,src=packed.tar.gz,dest=/app", "-t", "packed")
	scenarios := append(w.scenarios(), scenario{name: "build-tar", args: packed})
	temp := newTemp(t, w.tmp)
	before := w.state().leftovers() // its mount
	rooms := []int64{0}
	if soak() {
		rooms = []int64{0, 1, 2, 3, 4096, 1 << 20, 4 << 20}
	}
	refused := map[string]bool{}
	for _, sc := range scenarios {
		for _, sh := range []shortage{{"bytes", temp.fill, rooms}, {"inodes", temp.fillInodes, rooms}} {
			for _, room := range sh.rooms {
				what := fmt.Sprintf("%s, room for %d %s", sc.name, room, sh.name)
				if sc.prepare != nil {
					sc.prepare(0)
				}
				remove := sh.fill(room)
				o := w.run(nil, sc.args(0)...)
				remove()
				if o.code != 0 {
					refused[sc.name+", "+sh.name] = true
					if o.code != 1 || !message.MatchString(o.stderr) || !strings.Contains(o.stderr, unix.ENOSPC.Error()) {
						t.Errorf("%s: exit code %d: %s", what, o.code, o.stderr)
					}
				}
				if left := w.state().leftovers(); !slices.Equal(left, before) {
					t.Errorf("%s: it leaves %q", what, left)
				}
				w.ok(sc.args(0)...)
			}
		}
	}
	if !refused["build-tar, bytes"] {
		t.Error("an archive was unpacked where there is no room: the temporary directory is not full")
	}
	t.Logf("faults: full TMPDIR: %d commands; those that need it: %q", len(scenarios), sortedKeys(refused))
}
