package faults_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// memoryGroup is a cgroup whose processes get so much memory and no more, that of the page cache included.
type memoryGroup string

func newMemoryGroup(t *testing.T, limit int64) memoryGroup {
	t.Helper()
	harness.RequireRoot(t)
	dir, err := makeMemoryGroup(fmt.Sprintf("veneer-test-%d", os.Getpid()), limit)
	if err != nil {
		harness.Check(t, fmt.Errorf("memory cgroup: %w: %w", err, harness.ErrUnavailable))
	}
	t.Cleanup(func() {
		err := os.Remove(dir)
		for try := 0; errors.Is(err, unix.EBUSY) && try < 100; try++ { // what was killed in it is still ending
			time.Sleep(20 * time.Millisecond)
			err = os.Remove(dir)
		}
		must(t, err)
	})
	return memoryGroup(dir)
}

// makeMemoryGroup makes it below the root of cgroup v1's memory hierarchy, or of v2's.
func makeMemoryGroup(name string, limit int64) (string, error) {
	const v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	dir, file := filepath.Join(v1, name), "memory.limit_in_bytes"
	if _, err := os.Stat(v1); err != nil {
		// Where it is on already, that is all there is to it.
		if err := os.WriteFile(v2+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
			return "", err
		}
		dir, file = filepath.Join(v2, name), "memory.max"
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, limit), 0); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// command is the command in the group.
func (g memoryGroup) command(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	in := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, string(g) + "/cgroup.procs"}, cmd.Args...)...)
	in.Dir, in.Env = cmd.Dir, cmd.Env
	return in
}

// TestLittleMemory builds from large files, one of which is sparse, in 64 MB; a daemon has its own.
func TestLittleMemory(t *testing.T) {
	dir, all := places(t)
	sparse, random := int64(1<<30), int64(100<<20)
	compressions := []string{"gzip"}
	if soak() {
		sparse, random, compressions = 4<<30, 200<<20, []string{"gzip", "zstd", "none"}
	}
	must(t, os.Mkdir(dir+"/large", 0o755), os.WriteFile(dir+"/large/sparse", []byte("begins"), 0o644), os.Truncate(dir+"/large/sparse", sparse))
	writeRandom(t, dir+"/large/random", random)
	group := newMemoryGroup(t, 64<<20)
	for _, p := range all {
		for _, compression := range compressions {
			args := []string{"build", "--from", "scratch", "--copy", "large:/", "--compression", compression, "-t", "large"}
			start := time.Now()
			if o := finish(t, group.command(t, p.command(args...)), nil); o.code != 0 {
				t.Errorf("%s, %s: exit code %d: %s%s", p.name, compression, o.code, o.stderr, group.kills(t))
			}
			t.Logf("faults: 64 MB of memory, %s, %s: %d bytes in %.1f s", p.name, compression, sparse+random, time.Since(start).Seconds())
			p.ok(t, "rmi", "large")
			p.ok(t, "prune")
		}
	}
}

// kills says what the kernel did for want of memory.
func (g memoryGroup) kills(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"memory.oom_control", "memory.events"} { // of v1 and v2
		data, err := os.ReadFile(filepath.Join(string(g), name))
		if err == nil {
			all.Write(data)
		}
	}
	return all.String()
}

// TestDeltaInLittleMemory applies a delta of a file of 1 GB, into which a megabyte was inserted, in 256 MB.
func TestDeltaInLittleMemory(t *testing.T) {
	if !soak() {
		t.Skip("for make soak: it writes several gigabytes")
	}
	const size, inserted = 1 << 30, 1 << 20
	dir, all := places(t)
	old, now := dir+"/model/old", dir+"/model/new"
	must(t, os.MkdirAll(old, 0o755), os.MkdirAll(now, 0o755))
	writeRandom(t, old+"/data", size)
	must(t, exec.CommandContext(t.Context(), "sh", "-ec",
		`head -c 400000000 "$1" >"$2" && head -c "$3" /dev/urandom >>"$2" && tail -c +400000001 "$1" >>"$2"`, "sh", old+"/data", now+"/data", fmt.Sprint(inserted)).Run())
	group := newMemoryGroup(t, 256<<20)
	for _, p := range all {
		delta := dir + "/delta.tar"
		p.ok(t, "build", "--from", "scratch", "--copy", old+":/", "--compression", "none", "-t", "model:1")
		p.ok(t, "build", "--from", "model:1", "--copy", now+":/", "--compression", "none", "-t", "model:2")
		p.ok(t, "save", "model:2", "--since", "model:1", "--delta", "-o", delta)
		digest := p.digest(t, "model:2")
		p.ok(t, "rmi", "model:2")
		p.ok(t, "prune")
		start := time.Now()
		if o := finish(t, group.command(t, p.command("load", delta)), nil); o.code != 0 {
			t.Fatalf("%s: exit code %d: %s%s", p.name, o.code, o.stderr, group.kills(t))
		}
		info, err := os.Stat(delta)
		must(t, err)
		if got := p.digest(t, "model:2"); got != digest || info.Size() > 2*inserted {
			t.Errorf("%s: %s was made of a delta of %d bytes, not %s", p.name, got, info.Size(), digest)
		}
		t.Logf("faults: 256 MB of memory, %s: a file of %d bytes of a delta of %d in %.1f s", p.name, size+inserted, info.Size(), time.Since(start).Seconds())
		p.ok(t, "rmi", "model:1", "model:2")
		p.ok(t, "prune")
	}
}

// writeRandom makes a file of bytes that cannot be compressed.
func writeRandom(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = io.CopyN(f, rand.Reader, size)
	must(t, err, f.Close())
}
