package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestFullDiskCommands has each of the embedded engine's commands that write find so much room, from none to enough. What
// it leaves must be what was there, and then what fits must work: nothing half-done keeps its space.
func TestFullDiskCommands(t *testing.T) {
	f := newFilled(t, "-N", "1024")
	rooms := int64(5)
	if soak() {
		rooms = 40
	}
	for _, c := range f.fullCommands() {
		t.Run(c.name, func(t *testing.T) {
			f.t, f.stores.t = t, t
			for _, name := range c.makes {
				_ = f.command("rmi", name).Run() // it may be there
			}
			f.ok("prune")
			bytes := shortage{"bytes", f.disk.fill, upTo(c.enough, rooms)}
			bytes.sweep(t, c.name, func(room int64) (full bool) {
				before := f.onDisk()
				remove := f.disk.fill(room)
				files := f.disk.names()
				o := finish(t, f.command(c.args...), nil)
				if o.code != 0 {
					// prune works on the full disk, and finds nothing that the command had to leave.
					if out, err := f.command("prune", "--format", "json").CombinedOutput(); err != nil || !strings.Contains(string(out), `"blobs": 0`) {
						t.Errorf("room for %d: prune: %v: %s", room, err, out)
					}
				}
				if now := f.disk.names(); o.code != 0 && !slices.Equal(now, files) {
					t.Errorf("room for %d: it left %q, and there was %q", room, now, files)
				}
				remove()
				if o.code != 0 {
					f.fails(fmt.Sprintf("room for %d", room), o.code, o.stderr, before, "no space left on device")
				}
				must(t, os.RemoveAll(filepath.Join(f.disk.dir, c.writes)))
				f.ok(c.args...)
				for _, name := range c.makes {
					f.ok("verify", name)
					f.ok("rmi", name)
				}
				must(t, os.RemoveAll(filepath.Join(f.disk.dir, c.writes)))
				f.ok("prune")
				return o.code != 0
			})
		})
	}
	f.t, f.stores.t = t, t
}

// fullCommand is a command that writes some megabytes.
type fullCommand struct {
	name string
	args []string
	// makes are the names that it gives.
	makes []string
	// enough is more room than it takes.
	enough int64
	// writes is the file or directory that it makes on the disk, beside the engine's.
	writes string
}

// names are those of the files and directories on the disk.
func (d *disk) names() (list []string) {
	d.t.Helper()
	entries, err := os.ReadDir(d.dir)
	must(d.t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// fullCommands makes what the commands need, outside of the disk: an archive, a registry's image, and a base to squash.
func (f *filled) fullCommands() []fullCommand {
	f.t.Helper()
	other := *f.stores
	other.root = f.dir + "/other"
	archive := f.dir + "/big.tar"
	other.ok("build", "--from", "scratch", "--copy", f.dir+"/new:/app", "-t", "big:1")
	other.ok("save", "big:1", "-o", archive)
	patch := f.dir + "/patch.tar"
	// In another place than that of big:1, whose layer would be here otherwise.
	for _, s := range []*stores{&other, f.stores} {
		s.ok("build", "--from", "scratch", "--copy", f.dir+"/new:/model", "-t", "model:1")
	}
	data, err := os.ReadFile(f.dir + "/new/big")
	must(f.t, err, os.Mkdir(f.dir+"/newer", 0o755), os.WriteFile(f.dir+"/newer/big", append([]byte("x"), data...), 0o644))
	other.ok("build", "--from", "model:1", "--copy", f.dir+"/newer:/model", "-t", "model:2")
	other.ok("save", "model:2", "--since", "model:1", "--delta", "-o", patch)
	commands := []fullCommand{
		{"load a delta", []string{"load", patch}, []string{"model:2"}, 16 << 20, "-"},
		{"load", []string{"load", archive}, []string{"big:1"}, 16 << 20, "-"},
		{"load --no-unpack", []string{"load", "--no-unpack", archive}, []string{"big:1"}, 10 << 20, "-"},
		{"save", []string{"save", "tall:1", "-o", filepath.Join(f.disk.dir, "saved.tar")}, nil, 16 << 20, "saved.tar"},
		{"export", []string{"export", "tall:1", "-o", filepath.Join(f.disk.dir, "exported.tar")}, nil, 16 << 20, "exported.tar"},
		{"export to a directory", []string{"export", "tall:1", "-o", filepath.Join(f.disk.dir, "exported") + "/"}, nil, 16 << 20, "exported"},
		{"squash", []string{"squash", "tall:1", "--onto", "base:1", "-t", "squashed:1"}, []string{"squashed:1"}, 20 << 20, "-"},
	}
	f.ok("build", "--from", "base:1", "--copy", f.dir+"/new:/one", "-t", "tall:0")
	f.ok("build", "--from", "tall:0", "--copy", f.dir+"/new/sub:/two", "-t", "tall:1")
	f.ok("rmi", "tall:0")
	r := harness.NewRegistry(f.t)
	name := r.Addr() + "/big:1"
	other.ok("tag", "big:1", name)
	other.ok("push", "--plain-http", name)
	commands = append(commands, fullCommand{"pull", []string{"pull", "--plain-http", name}, []string{name}, 16 << 20, "-"})
	if soak() {
		commands = append(commands, f.deltaCommands(&other, r.Addr())...)
	}
	return commands
}

// deltaCommands save and pull deltas below the file. The images are those of [filled.fullCommands].
func (f *filled) deltaCommands(other *stores, registry string) []fullCommand {
	f.t.Helper()
	// As much again that no source has, so that the delta is large.
	noise(f.t, f.dir+"/newest/more", 4<<20)
	f.ok("build", "--from", "model:1", "--copy", f.dir+"/newest:/model", "-t", "model:3")
	old, grown := registry+"/model:1", registry+"/model:2"
	other.ok("tag", "model:1", old)
	other.ok("tag", "model:2", grown)
	other.ok("push", "--plain-http", old)
	other.ok("push", "--plain-http", "--delta-from", old, grown)
	return []fullCommand{
		{"save a delta", []string{"save", "model:3", "--since", "model:1", "--delta", "-o", filepath.Join(f.disk.dir, "saved-delta.tar")}, nil, 16 << 20, "saved-delta.tar"},
		{"pull a delta", []string{"pull", "--plain-http", grown}, []string{grown}, 16 << 20, "-"},
	}
}
