package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// stores is an embedded engine's directory, and a place for the program to run.
type stores struct {
	t                           *testing.T
	dir, root, tmp, snapshotter string
}

func (s *stores) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, append([]string{"--progress", "quiet"}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.tmp, "HOME=/nonexistent", "SOURCE_DATE_EPOCH=1750000000",
		"VENEER_ENGINE=embedded", "VENEER_ROOT=" + s.root, "CONTAINERD_SNAPSHOTTER=" + s.snapshotter,
	}
	return cmd
}

func (s *stores) ok(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// onDisk lists the files below the root and in TMPDIR, without what is in snapshots but with their number, and says
// what the images are.
func (s *stores) onDisk() state {
	s.t.Helper()
	all := state{}
	number := 0
	for _, top := range []string{s.root, s.tmp} {
		must(s.t, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			rel := strings.TrimPrefix(path, s.dir+"/")
			switch {
			case err != nil:
				return err
			case d.IsDir() && filepath.Base(filepath.Dir(path)) == "snapshots":
				number++
				return fs.SkipDir
			case cached(path), path == filepath.Join(s.root, "reserve"), // which is given up on a full disk
				filepath.Dir(path) == s.root && strings.HasPrefix(filepath.Base(path), "format"): // which the next start writes
			case path != top && (!d.IsDir() || top == s.tmp || strings.Contains(rel, "/ingest/")):
				all[rel] = true
			}
			return nil
		}))
	}
	all[fmt.Sprintf("%d directories of snapshots", number)] = true
	var images []struct {
		Name   string
		Target struct{ Digest string }
	}
	must(s.t, json.Unmarshal([]byte(s.ok("images", "--format", "json")), &images))
	for _, img := range images {
		all["image "+img.Name+" "+img.Target.Digest] = true
	}
	return all
}

// TestEverySystemCall kills the program at each system call that changes something in the embedded engine's stores.
func TestEverySystemCall(t *testing.T) {
	harness.RequireRoot(t)
	for _, snapshotter := range harness.Snapshotters() {
		if snapshotter != "overlayfs" && !soak() {
			continue
		}
		for _, reader := range []string{"index", "view"} {
			t.Run(snapshotter+"/"+reader, func(t *testing.T) { killEmbedded(t, snapshotter, reader) })
		}
	}
}

func killEmbedded(t *testing.T, snapshotter, reader string) {
	dir := t.TempDir()
	s := &stores{t: t, dir: dir, root: dir + "/root", tmp: dir + "/tmp", snapshotter: snapshotter}
	w := &world{t: t, dir: dir}
	must(t, os.Mkdir(s.tmp, 0o755))
	w.write("note", "note\n")
	s.ok("build", "--from", "scratch", "--copy", "note:/etc/note", "-t", "base:1")
	s.ok("build", "--from", "base:1", "--copy", "note:/app/old", "-t", "base:2")
	sources := []string{w.source(0), w.source(1)}
	args := func(v int) []string {
		return []string{"build", "--reader", reader, "--from", "base:2", "--sync", sources[v] + ":/app", "-t", "app:v"}
	}
	var states [2]state
	var calls [2][]string
	for range 2 {
		for v := range 2 {
			var status any
			calls[v], status = traced(t, s.command(args(v)...), 0)
			if fmt.Sprint(status) != "0" {
				t.Fatalf("undisturbed: %v", status)
			}
			s.ok("prune")
			states[v] = s.onDisk()
		}
	}
	count := map[string]int{}
	for _, c := range calls[1] {
		count[c]++
	}
	t.Logf("%s makes %d changing system calls: %v", reader, len(calls[1]), count)
	step := 1
	if !soak() {
		step = max(1, len(calls[1])/8)
	}
	tried, turn := 0, 0
	for n := 1; n <= len(calls[turn]); n += step {
		v := turn
		turn = 1 - v
		made, status := traced(t, s.command(args(v)...), n)
		if !status.Signaled() {
			continue // it made fewer calls this time
		}
		tried++
		problem := func(format string, a ...any) {
			t.Errorf("killed at call %d (%s): "+format, append([]any{n, made[len(made)-1]}, a...)...)
		}
		for _, name := range []string{"app:v", "base:2"} {
			if out, err := s.command("verify", name).CombinedOutput(); err != nil {
				problem("%s is not whole: %v: %s", name, err, out)
			}
		}
		s.ok(args(v)...)
		s.ok("prune")
		if diff := s.onDisk().diff(states[v]); len(diff) > 0 {
			problem("after it ran again, and prune:\n\t%s", strings.Join(diff, "\n\t"))
			states[v] = s.onDisk() // so that each is reported once
		}
	}
	t.Logf("faults: embedded, %s, %s, system calls: %d tried", snapshotter, reader, tried)
}
