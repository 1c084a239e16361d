package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/test/harness"
)

// liveProgram is what containers of these tests run: it sleeps, or counts in two files, the first always first.
const liveProgram = `package main

import (
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "count" {
		for n := 0; ; n++ {
			for _, name := range []string{"/count/a", "/count/b"} {
				if os.WriteFile(name+".new", []byte(strconv.Itoa(n)), 0o644) != nil || os.Rename(name+".new", name) != nil {
					os.Exit(1)
				}
			}
		}
	}
	time.Sleep(time.Hour)
}
`

// buildLive builds that program without anything that it would need in the image.
var buildLive = sync.OnceValues(func() (string, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".cache", "e2e", "live")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".go", []byte(liveProgram), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, path+".go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build live: %w: %s", err, out)
	}
	return path, nil
})

// eachDaemon runs a test on every containerd with every snapshotter.
func eachDaemon(t *testing.T, fn func(t *testing.T, p *place)) {
	t.Helper()
	harness.RequireRoot(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			for _, snapshotter := range harness.Snapshotters() {
				t.Run(snapshotter, func(t *testing.T) { fn(t, newPlace(t, d, snapshotter)) })
			}
		})
	}
}

// oneDaemon is a place for tests that would say nothing new on others.
func oneDaemon(t *testing.T) *place {
	t.Helper()
	harness.RequireRoot(t)
	return newPlace(t, harness.Start(t, harness.Kinds()[0]), "overlayfs")
}

// liveBase builds base:1, an image that holds the tree and the program.
func (p *place) liveBase(t *testing.T, tree string) {
	t.Helper()
	program, err := buildLive()
	must(t, err, os.MkdirAll(filepath.Join(tree, "bin"), 0o755), os.MkdirAll(filepath.Join(tree, "count"), 0o755))
	command(t, "cp", program, filepath.Join(tree, "bin/live"))
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(tree)}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})
}

// box is a container.
type box struct {
	*place
	id string
	// rootfs is where containerd mounted its root file system, while it runs.
	rootfs string
}

var boxSerial atomic.Int64

// container creates a container, and starts it in the background if verb is "run". It goes with the test.
func (p *place) container(t *testing.T, verb, image string, args ...string) *box {
	t.Helper()
	return p.labelled(t, nil, verb, image, args...)
}

// labelled is container with labels, each KEY=VALUE.
func (p *place) labelled(t *testing.T, labels []string, verb, image string, args ...string) *box {
	t.Helper()
	b := &box{place: p, id: fmt.Sprintf("box%d-%d", os.Getpid(), boxSerial.Add(1))}
	state := filepath.Join(filepath.Dir(p.daemon.Root()), "state")
	b.rootfs = filepath.Join(state, "io.containerd.runtime.v2.task/default", b.id, "rootfs")
	t.Cleanup(func() {
		b.kill(t)
		b.ctr(t, "containers", "rm", b.id)
	})
	how := []string{"containers", "create"}
	if verb == "run" {
		how = []string{"run", "-d", "--log-uri", "file:///dev/null"}
	}
	how = append(how, "--snapshotter", p.engine.Snapshotter)
	for _, l := range labels {
		how = append(how, "--label", l)
	}
	b.ctr(t, append(append(how, "docker.io/library/"+image, b.id), args...)...)
	return b
}

func (b *box) ctr(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.daemon.Ctr(args...)
	must(t, err)
	return out
}

// kill ends what runs in the container.
func (b *box) kill(t *testing.T) {
	t.Helper()
	if b.status(t) == "" {
		return
	}
	_, _ = b.daemon.Ctr("tasks", "resume", b.id) // A paused one takes no signal.
	_, _ = b.daemon.Ctr("tasks", "kill", "-s", "KILL", b.id)
	for range 100 {
		if _, err := b.daemon.Ctr("tasks", "rm", b.id); err == nil || strings.Contains(err.Error(), "not found") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s does not end: %s", b.id, b.status(t))
}

// status is that of the container's task, as in RUNNING; empty: it has none.
func (b *box) status(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(b.ctr(t, "tasks", "ls")) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == b.id {
			return words[2]
		}
	}
	return ""
}

// commit commits the container with the tests' epoch.
func (b *box) commit(t *testing.T, req veneer.CommitRequest) *veneer.Result {
	t.Helper()
	req.Container, req.Epoch = b.id, &epoch
	if len(req.Tags) == 0 {
		req.Tags = []string{"committed:" + b.id}
	}
	res, err := veneer.Commit(b.ctx, b.engine, req)
	must(t, err)
	return res
}

// target is the descriptor behind an image's name.
func (p *place) target(t *testing.T, name string) ocispec.Descriptor {
	t.Helper()
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	return img.Manifest
}
