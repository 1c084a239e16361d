package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/veneer-build/veneer/test/harness"
)

// rootlessKit is a containerd below rootlesskit, of an ordinary user.
type rootlessKit struct {
	*place
	dir string // the user's
}

// TestRootlessKit: with an ordinary user's containerd, started as containerd-rootless.sh does, root builds from outside of its
// namespaces, and that user from outside and from inside. The images are those of root's own engine. A container of
// one has the files, whose owners are users of the daemon's. (Root inside is [TestRootless].)
func TestRootlessKit(t *testing.T) {
	dir := harness.UnprivilegedDir(t)
	harness.BusyboxImage(t, filepath.Join(dir, "base.tar"), "docker.io/library/base:1")
	write(t, filepath.Join(dir, "app/file"), "rootless\n")
	write(t, filepath.Join(dir, "app/Dockerfile"), "FROM base:1\nCOPY --chown=7:8 file /copied\n"+
		"RUN mv /copied /moved && touch /made && chmod 4711 /made && rm /bin/id && rm -r /tmp && mkdir /tmp\n")
	r := rootlessKit{newPlace(t, harness.StartWith(t, harness.Containerd2, harness.Settings{RootlessKit: true}), "overlayfs"), dir}
	user := []string{"setpriv", "--reuid", strconv.Itoa(harness.UnprivilegedID), "--regid", strconv.Itoa(harness.UnprivilegedID), "--clear-groups"}
	enter := []string{"nsenter", "--user", "--preserve-credentials", "--mount", "--target", strconv.Itoa(r.daemon.PID())}
	same := agreement{}
	r.builds(t, way{name: "of root's engine"}, same)
	r.builds(t, way{name: "of root", daemon: true}, same)
	r.builds(t, way{name: "of the user", daemon: true, through: user}, same)
	r.builds(t, way{name: "of the user, inside", daemon: true, inside: true, through: append(user, enter...)}, same)
	out := r.run(t, "docker.io/library/ran:1", "sh", "-c", "cat /moved; stat -c '%u:%g %a' /moved /made; test ! -e /bin/id && ls -a /tmp")
	if want := "rootless\n7:8 644\n0:0 4711\n.\n..\n"; out != want {
		t.Errorf("a container says %q, want %q", out, want)
	}
	ownedBelow(t, filepath.Join(r.daemon.Root(), "io.containerd.snapshotter.v1.overlayfs", "snapshots"), harness.UnprivilegedID)
}

// way is how Veneer is run.
type way struct {
	name string
	// daemon: with the rootless daemon, and not with an embedded engine.
	daemon bool
	// inside: in the daemon's namespaces, through a command.
	inside  bool
	through []string
}

// builds builds on the base, inside with processes too, and verifies.
func (r rootlessKit) builds(t *testing.T, w way, same agreement) {
	t.Helper()
	cache := filepath.Join(r.dir, "cache of "+w.name)
	must(t, os.Mkdir(cache, 0o700))
	if w.through != nil {
		must(t, os.Chown(cache, harness.UnprivilegedID, harness.UnprivilegedID))
	}
	run := func(args ...string) string {
		where := []string{"--root", cache, "--progress", "quiet"}
		if w.daemon {
			where = append(where, "--address", r.daemon.Address())
		} else {
			where = append(where, "--engine", "embedded")
		}
		cmd := cli(t, append(where, args...)...)
		if w.through != nil {
			through := exec.CommandContext(t.Context(), w.through[0], append(w.through[1:len(w.through):len(w.through)], cmd.Args...)...)
			through.Env, cmd = cmd.Env, through
		}
		cmd.Dir = r.dir
		return strings.TrimSpace(output(t, cmd))
	}
	run("load", filepath.Join(r.dir, "base.tar"))
	same.check(t, "the image", run("build", "--no-cache", "--from", "base:1", "--sync", filepath.Join(r.dir, "app")+":/app", "-t", "thin:1"))
	text := run("verify", "thin:1")
	if outside := w.daemon && !w.inside; outside != strings.Contains(text, "user namespace") {
		t.Errorf("%q: verify says %s", w.name, text)
	}
	if !w.daemon || w.inside {
		same.check(t, "the Dockerfile's image", run("build", "--no-cache", "--network", "none", "-t", "ran:1", filepath.Join(r.dir, "app")))
		run("verify", "ran:1")
		run("prune", "--all") // the steps, which else stay for the next build
	}
}

// run runs a command in a container of the image, without cgroups, which an ordinary user has none of here.
func (r rootlessKit) run(t *testing.T, name string, command ...string) string {
	t.Helper()
	image, err := r.engine.Client.GetImage(r.ctx, name)
	must(t, err)
	withoutCgroups := func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Linux.CgroupsPath, s.Linux.Resources = "", nil
		return nil
	}
	c, err := r.engine.Client.NewContainer(r.ctx, "rootless", client.WithSnapshotter("overlayfs"), client.WithNewSnapshot("rootless", image),
		client.WithNewSpec(oci.WithProcessArgs(command...), oci.WithDefaultPathEnv, withoutCgroups))
	must(t, err)
	t.Cleanup(func() { must(t, c.Delete(context.WithoutCancel(r.ctx), client.WithSnapshotCleanup)) })
	log := filepath.Join(r.dir, "log")
	task, err := c.NewTask(r.ctx, cio.LogFile(log))
	must(t, err)
	exited, err := task.Wait(r.ctx)
	must(t, err)
	must(t, task.Start(r.ctx))
	<-exited
	_, err = task.Delete(r.ctx)
	must(t, err)
	out, err := os.ReadFile(log)
	must(t, err)
	return string(out)
}
