package faults_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// limited is the command with limits of prlimit(1), as in "--nofile=64".
func limited(t *testing.T, cmd *exec.Cmd, limits ...string) *exec.Cmd {
	t.Helper()
	harness.Check(t, harness.Installed("prlimit", "util-linux"))
	wrapped := exec.CommandContext(t.Context(), "prlimit", append(limits, cmd.Args...)...)
	wrapped.Dir, wrapped.Env = cmd.Dir, cmd.Env
	return wrapped
}

// place is an engine, and the program that uses it.
type place struct {
	name    string
	command func(args ...string) *exec.Cmd
	// leftovers are what must not outlive a run.
	leftovers func() []string
	*world    // nil: embedded
}

// places are the embedded engine and a daemon; dir is for sources and archives, the same for both.
func places(t *testing.T) (dir string, all []place) {
	t.Helper()
	harness.RequireRoot(t)
	w := newWorld(t, harness.Containerd2, "overlayfs")
	s := &stores{t: t, dir: w.dir, root: w.at("embedded"), tmp: w.at("embedded-tmp"), snapshotter: "overlayfs"}
	must(t, os.Mkdir(s.tmp, 0o755))
	return w.dir, []place{
		{name: "embedded", command: s.command, leftovers: s.inUse},
		{name: "daemon", command: w.command, leftovers: func() []string { return w.state().leftovers() }, world: w},
	}
}

// inUse are the temporary files, the ingests, and the snapshots beyond those of images.
func (s *stores) inUse() []string {
	s.t.Helper()
	before := s.onDisk()
	s.ok("prune")
	after := s.onDisk()
	var all []string
	for line := range before {
		if !after[line] && !strings.Contains(line, "/blobs/") && !strings.HasSuffix(line, " directories of snapshots") {
			all = append(all, line)
		}
	}
	return all
}

func (p place) ok(t *testing.T, args ...string) {
	t.Helper()
	if o := finish(t, p.command(args...), nil); o.code != 0 {
		t.Fatalf("%s: %q: exit code %d: %s", p.name, args, o.code, o.stderr)
	}
}

// digest is that of a named image.
func (p place) digest(t *testing.T, name string) string {
	t.Helper()
	out, err := p.command("images", "--format", "json").Output()
	must(t, err)
	var images []struct {
		Name   string
		Target struct{ Digest string }
	}
	must(t, json.Unmarshal(out, &images))
	for _, img := range images {
		if img.Name == "docker.io/library/"+name {
			return img.Target.Digest
		}
	}
	return ""
}

// forest makes a tree of so many directories one below another, and as many side by side, with 21 files in each pair.
func forest(t *testing.T, dir, text string, depth int) {
	t.Helper()
	deep := "deep"
	for i := range depth {
		wide := fmt.Sprintf("wide/%d", i)
		deep += "/d"
		must(t, os.MkdirAll(filepath.Join(dir, wide), 0o755), os.MkdirAll(filepath.Join(dir, deep), 0o755),
			os.WriteFile(filepath.Join(dir, deep, "file"), []byte(text), 0o644))
		for j := range 20 {
			must(t, os.WriteFile(filepath.Join(dir, wide, fmt.Sprint(j)), fmt.Appendf(nil, "%s %d %d", text, i, j%7), 0o644))
		}
	}
}

// TestFewDescriptors runs the program with 64 descriptors, also where it believes to have many processors: trees of
// thousands of files, on many layers that all have the deepest directory.
func TestFewDescriptors(t *testing.T) {
	dir, all := places(t)
	const depth = 60
	forest(t, dir+"/old", "old", depth)
	forest(t, dir+"/new", "new", depth)
	layers, processors := 4, []string{"16"}
	if soak() {
		layers, processors = 60, []string{"1", "2", "16", "64"}
	}
	for _, p := range all {
		p.ok(t, "build", "--from", "scratch", "--copy", "old:/tree", "-t", "tall:0")
		for i := range layers {
			must(t, os.WriteFile(dir+"/note", fmt.Append(nil, i), 0o644))
			p.ok(t, "build", "--from", fmt.Sprint("tall:", i), "--copy", fmt.Sprintf("note:/tree/deep%s/note%d", strings.Repeat("/d", depth), i), "-t", fmt.Sprint("tall:", i+1))
		}
		tall := fmt.Sprint("tall:", layers)
		p.ok(t, "build", "--from", "scratch", "--copy", "new:/tree", "-t", "full")
		p.ok(t, "save", tall, "-o", "tall.tar")
		build := []string{"build", "--from", tall, "--sync", "new:/tree", "-t"}
		commands := [][]string{
			{"diff", "--from", tall, "--sync", "new:/tree"},
			append(build, "few", "--reader", "index"),
			append(build, "few", "--reader", "view"),
			{"delta", tall, "full", "-t", "few"},
			{"save", tall, "-o", "again.tar"},
			{"load", "tall.tar"},
		}
		if soak() {
			commands = append(commands, append(build, "few", "--reader", "index", "--no-cache"), append(build, "few", "--differ", "service"),
				[]string{"squash", tall, "--onto", "tall:0", "-t", "few"}, []string{"verify", tall})
		}
		if p.world != nil {
			commands = append(commands, p.committing().args(0))
		}
		for _, args := range commands {
			if slices.Contains(args, "few") {
				p.ok(t, args...)
			}
			want := p.digest(t, "few:latest")
			for _, processors := range processors {
				cmd := limited(t, p.command(args...), "--nofile=64")
				cmd.Env = append(cmd.Env, "GOMAXPROCS="+processors)
				if o := finish(t, cmd, nil); o.code != 0 {
					t.Errorf("%s: %q with 64 descriptors and %s processors: exit code %d: %s", p.name, args, processors, o.code, o.stderr)
				}
				if got := p.digest(t, "few:latest"); got != want {
					t.Errorf("%s: %q with 64 descriptors makes %s, else %s", p.name, args, got, want)
				}
			}
		}
		t.Logf("faults: 64 descriptors, %s: %d commands, a base of %d layers", p.name, len(commands), layers)
	}
}

// TestFileSizeLimit: a file that may not grow (RLIMIT_FSIZE) is an error that says so, and SIGXFSZ kills nobody.
func TestFileSizeLimit(t *testing.T) {
	f := newFilled(t)
	sizes := []int64{0, 100 << 10, 1 << 20, 4<<20 - 1}
	if soak() {
		sizes = append(upTo(400<<10, 60), upTo(4<<20-1, 20)...)
	}
	for _, size := range sizes {
		f.again()
		before := f.onDisk()
		o := finish(t, limited(t, f.command(f.args...), fmt.Sprintf("--fsize=%d", size)), nil)
		f.fails(fmt.Sprintf("files of %d bytes", size), o.code, o.stderr, before, unix.EFBIG.Error())
	}
	f.again()

	dir, all := places(t)
	noise(t, dir+"/new/big", 4<<20)
	for _, p := range all {
		p.ok(t, "build", "--from", "scratch", "--copy", "new:/new", "-t", "big")
		p.ok(t, "save", "big", "-o", "big.tar")
		must(t, os.WriteFile(dir+"/saved.tar", []byte("the old one"), 0o644))
		for _, args := range [][]string{
			{"build", "--from", "scratch", "--copy", "new:/again", "-t", "new"},
			{"save", "big", "-o", "saved.tar"},
			{"load", "big.tar"},
		} {
			if args[0] == "load" {
				p.ok(t, "rmi", "big")
				p.ok(t, "prune")
			}
			o := finish(t, limited(t, p.command(args...), fmt.Sprintf("--fsize=%d", 1<<20)), nil)
			// Where it is the daemon that writes, its limits count.
			if o.code != 0 && (o.code != 1 || !message.MatchString(o.stderr) || !strings.Contains(o.stderr, unix.EFBIG.Error())) {
				t.Errorf("%s: %q: exit code %d: %s", p.name, args, o.code, o.stderr)
			}
			if o.code == 0 && (p.world == nil || args[0] == "save") {
				t.Errorf("%s: %q succeeded", p.name, args)
			}
			if left := p.leftovers(); len(left) > 0 {
				t.Errorf("%s: %q left %q", p.name, args, left)
			}
		}
		if data, err := os.ReadFile(dir + "/saved.tar"); err != nil || string(data) != "the old one" {
			t.Errorf("%s: save left %d bytes: %v", p.name, len(data), err)
		}
	}
	t.Logf("faults: file size limit: %d sizes embedded, and 3 commands on each engine", len(sizes))
}
