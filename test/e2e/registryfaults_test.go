package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRegistryBytes: what moves is the thin layer, the config and the manifest, to the byte, in both directions and
// although the base is in another repository; and what is unpacked is the one layer.
func TestRegistryBytes(t *testing.T) {
	harness.RequireRoot(t)
	px := newProxy(t, harness.NewRegistry(t))
	base, name := px.addr+"/library/debian:12", px.addr+"/team/app:2"
	o := registryOptions(t)
	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	p.loadDebian(t)
	_, err := content.Tag(p.ctx, p.engine.Client, harness.DebianName, base)
	must(t, err)
	_, err = registry.Push(p.ctx, p.engine.Client, base, o)
	must(t, err)

	node := newPlace(t, harness.Start(t, harness.Containerd17), "overlayfs")
	_, err = veneer.Pull(node.ctx, node.engine, base, o)
	must(t, err)

	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "hello"), "hello\n")
	built := p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	thin := built.Layer.Size + img.ConfigDesc.Size + img.Manifest.Size

	px.reset(nil)
	_, err = registry.Push(p.ctx, p.engine.Client, name, o)
	must(t, err)
	if up, _ := px.bytes(); up != thin {
		t.Errorf("%d bytes were pushed, layer, config and manifest have %d", up, thin)
	}
	before := committed(t, node)
	px.reset(nil)
	_, err = veneer.Pull(node.ctx, node.engine, name, o)
	must(t, err)
	if _, down := px.bytes(); down != thin {
		t.Errorf("%d bytes were pulled, layer, config and manifest have %d", down, thin)
	}
	if n := committed(t, node) - before; n != 1 {
		t.Errorf("%d new snapshots", n)
	}
	if out := node.daemon.Run(t, name, "overlayfs", "cat", "/srv/hello"); out != "hello\n" {
		t.Errorf("it prints %q", out)
	}
	for what, again := range map[string]func() error{
		"push": func() error { _, err := registry.Push(p.ctx, p.engine.Client, name, o); return err },
		"pull": func() error { _, err := veneer.Pull(node.ctx, node.engine, name, o); return err },
	} {
		px.reset(nil)
		must(t, again())
		if up, down := px.bytes(); up != 0 || down != 0 {
			t.Errorf("%s again: %d bytes up, %d down", what, up, down)
		}
	}
}

// registryOptions keep this host's settings out of a test, and do not wait long.
func registryOptions(t *testing.T) registry.Options {
	t.Helper()
	return registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir(), Backoff: time.Millisecond}
}

// committed counts committed snapshots.
func committed(t *testing.T, p *place) (n int) {
	t.Helper()
	must(t, p.engine.Client.SnapshotService(p.engine.Snapshotter).Walk(p.ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindCommitted {
			n++
		}
		return nil
	}))
	return n
}

// TestRegistryCutAtEachRequest: the connection to a real registry breaks at the nth request, before it is answered or in
// the middle of its answer. Once: nobody notices. For good: an error, the name is as it was, nothing is left on either
// side, and the same again works.
func TestRegistryCutAtEachRequest(t *testing.T) {
	harness.RequireRoot(t)
	px := newProxy(t, harness.NewRegistry(t))
	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	node := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	o := registryOptions(t)
	src := filepath.Join(t.TempDir(), "src")
	build := func(n int) (name string) {
		write(t, filepath.Join(src, "n"), fmt.Sprint(n))
		name = fmt.Sprintf("%s/app:%d", px.addr, n)
		p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
		return name
	}
	first := build(0)
	_, err := registry.Push(p.ctx, p.engine.Client, first, o)
	must(t, err)
	requests := px.count("")
	old, err := veneer.Pull(node.ctx, node.engine, first, o)
	must(t, err)

	for n := 1; n < requests; n++ { // The last asks what the tag means, and may have no answer.
		name := build(n)
		px.reset(cut(n, 1<<20, false))
		if _, err := registry.Push(p.ctx, p.engine.Client, name, o); err == nil {
			t.Errorf("pushed with all requests from %d on cut", n)
		}
		px.reset(nil)
		if _, err := registry.Pull(node.ctx, node.engine.Client, name, o); err == nil {
			t.Errorf("a push that was cut at request %d has left an image", n)
		}
		px.reset(cut(n, 1, false))
		if _, err := registry.Push(p.ctx, p.engine.Client, name, o); err != nil {
			t.Errorf("push with request %d cut: %v", n, err)
		}
	}
	px.reset(cut(requests, 1<<20, false))
	_, err = registry.Push(p.ctx, p.engine.Client, build(requests), o)
	must(t, err)
	for _, half := range []bool{false, true} {
		for n := 1; n <= 4; n++ { // resolve, manifest, config, layer
			name := fmt.Sprintf("%s/app:%d", px.addr, n)
			must(t, forget(node, name))
			_, err := content.Record(node.ctx, node.engine.Client, name, old.Target)
			must(t, err)
			before, err := harness.TakeInventory(node.ctx, node.engine.Client, "overlayfs")
			must(t, err)
			px.reset(cut(n, 1<<20, half))
			_, err = veneer.Pull(node.ctx, node.engine, name, o)
			if err == nil && (!half || n > 1) { // a HEAD has no body
				t.Errorf("pulled with all requests from %d on cut", n)
			}
			must(t, before.Leaks(node.ctx))
			if now, err := node.engine.Client.ImageService().Get(node.ctx, name); err != nil || now.Target.Digest != old.Target.Digest {
				t.Errorf("cut at request %d: the name is now %s, %v", n, now.Target.Digest, err)
			}
			px.reset(cut(n, 1, half))
			if _, err := veneer.Pull(node.ctx, node.engine, name, o); err != nil {
				t.Errorf("pull with request %d cut: %v", n, err)
			}
		}
	}
}

// forget removes an image and waits until what was its alone is gone.
func forget(p *place, name string) error {
	err := p.engine.Client.ImageService().Delete(p.ctx, name, images.SynchronousDelete())
	if err != nil && !strings.Contains(err.Error(), "not found") {
		return err
	}
	return nil
}

// TestRegistryInterrupted: ^C in the middle of a layer leaves nothing, on either side. A pull that was killed is
// continued by the next one, from where it was.
func TestRegistryInterrupted(t *testing.T) {
	harness.RequireRoot(t)
	px := newProxy(t, harness.NewRegistry(t))
	d := harness.Start(t, harness.Containerd2)
	p := newPlace(t, d, "overlayfs")
	p.loadDebian(t)
	base := px.addr + "/debian:12"
	_, err := content.Tag(p.ctx, p.engine.Client, harness.DebianName, base)
	must(t, err)
	img, err := content.Resolve(p.ctx, p.engine.Client, base, "")
	must(t, err)
	layer := img.Layers[0]
	run := func(d *harness.Daemon, args ...string) *exec.Cmd {
		cmd := cli(t, append([]string{"--address", d.Address()}, args...)...)
		cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+t.TempDir())
		return cmd
	}
	// interrupt sends the signal when the layer is under way.
	interrupt := func(cmd *exec.Cmd, signal os.Signal) int {
		under, over := make(chan struct{}, 1), make(chan struct{})
		defer close(over)
		px.reset(func(_ int, w http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return &slowWriter{w, r.Context(), under, layer.Size / 2}
			}
			if r.Method == http.MethodPut && r.ContentLength == layer.Size {
				r.Body = &slowBody{r.Body, under, over, layer.Size / 2}
			}
			return w
		})
		must(t, cmd.Start())
		select {
		case <-under:
		case <-time.After(time.Minute):
			t.Error("the layer never got under way")
		}
		time.Sleep(200 * time.Millisecond)
		must(t, cmd.Process.Signal(signal))
		err := cmd.Wait()
		px.reset(nil)
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return 0
		}
		return exit.ExitCode()
	}

	push := run(d, "push", "--plain-http", base)
	if code := interrupt(push, syscall.SIGINT); code != 130 {
		t.Errorf("push after ^C: exit code %d", code)
	}
	if _, err := registry.Pull(p.ctx, p.engine.Client, base, registryOptions(t)); err == nil {
		t.Error("there is an image after a push that was interrupted")
	}
	output(t, run(d, "push", "--plain-http", base))

	other := harness.Start(t, harness.Containerd2)
	node := newPlace(t, other, "overlayfs")
	before, err := harness.TakeInventory(node.ctx, node.engine.Client, "overlayfs")
	must(t, err)
	if code := interrupt(run(other, "pull", "--plain-http", base), syscall.SIGINT); code != 130 {
		t.Errorf("pull after ^C: exit code %d", code)
	}
	must(t, before.Leaks(node.ctx))
	if _, err := node.engine.Client.ImageService().Get(node.ctx, base); err == nil {
		t.Error("there is a name after a pull that was interrupted")
	}

	interrupt(run(other, "pull", "--plain-http", base), os.Kill)
	output(t, run(other, "pull", "--plain-http", base))
	if n := px.count(layer.Digest.String() + " bytes="); n != 1 {
		t.Errorf("%d requests for the rest of the layer", n)
	}
	if _, down := px.bytes(); down > layer.Size*3/4 {
		t.Errorf("%d bytes came, after half of %d had", down, layer.Size)
	}
	output(t, run(other, "prune"))
	must(t, before.Leaks(node.ctx))
}

// slowBody lets so many bytes by, says so, and no more until it is over.
type slowBody struct {
	io.ReadCloser
	under chan<- struct{}
	over  <-chan struct{}
	left  int64
}

func (s *slowBody) Read(p []byte) (int, error) {
	if s.left <= 0 {
		tell(s.under)
		<-s.over
	}
	n, err := s.ReadCloser.Read(p)
	s.left -= int64(n)
	return n, err
}

// tell says it once.
func tell(under chan<- struct{}) {
	select {
	case under <- struct{}{}:
	default:
	}
}

// slowWriter sends so many bytes, says so, and then nothing.
type slowWriter struct {
	http.ResponseWriter
	ctx   context.Context //nolint:containedctx // the request's
	under chan<- struct{}
	left  int64
}

func (s *slowWriter) Write(p []byte) (int, error) {
	if int64(len(p)) < s.left {
		s.left -= int64(len(p))
		return s.ResponseWriter.Write(p)
	}
	_, _ = s.ResponseWriter.Write(p[:s.left])
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	tell(s.under)
	<-s.ctx.Done()
	panic(http.ErrAbortHandler)
}

func (s *slowWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// TestBuildPush: build --push sends what it built; where it cannot, the image is there, the error says so and the exit
// code is not 0. The password is in no output, not even with --debug.
func TestBuildPush(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistryWith(t, harness.RegistryOptions{Auth: true})
	d := harness.Start(t, harness.Containerd2)
	p := newPlace(t, d, "overlayfs")
	src, config := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, filepath.Join(src, "hello"), "hello\n")
	name := r.Addr() + "/team/app:1"
	iid := filepath.Join(t.TempDir(), "iid")
	run := func(password string, args ...string) (string, error) {
		auth := base64.StdEncoding.EncodeToString([]byte(harness.RegistryUser + ":" + password))
		write(t, filepath.Join(config, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.Addr(), auth))
		cmd := cli(t, append([]string{"--debug", "--address", d.Address()}, args...)...)
		cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+config)
		out, err := cmd.CombinedOutput()
		for _, secret := range []string{password, auth} {
			if strings.Contains(string(out), secret) {
				t.Errorf("%s: %q is in the output:\n%s", args[0], secret, out)
			}
		}
		return string(out), err
	}
	build := []string{"build", "--from", "scratch", "--sync", src + ":/srv", "-t", name, "--push", "--plain-http", "--iidfile", iid}
	out, err := run("wr0ng-passw0rd", build...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("with a wrong password: %v", err)
	}
	if !strings.Contains(out, "is built and stored, but not pushed (veneer push --plain-http "+name+" tries again)") || !strings.Contains(out, "veneer login "+r.Addr()) {
		t.Errorf("it says\n%s", out)
	}
	stored, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	wantRequests(t, r, 0, "PUT /v2/team/app/")

	out, err = run(harness.RegistryPassword, build...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	digest, err := os.ReadFile(iid)
	must(t, err)
	if string(digest) != stored.Manifest.Digest.String() {
		t.Errorf("pushed %s, stored before %s", digest, stored.Manifest.Digest)
	}
	wantRequests(t, r, 1, "PUT /v2/team/app/manifests/1", " 201 ")
	if out, err = run(harness.RegistryPassword, "build", "--from", "scratch", "--sync", src+":/srv", "--push"); err == nil || !strings.Contains(out, "--push needs a name") {
		t.Errorf("without a name: %v\n%s", err, out)
	}
}

// TestPullAllPlatforms: each platform of an index can be pulled alone, or all with one command, and pushed on.
func TestPullAllPlatforms(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	o := registryOptions(t)
	var manifests []ocispec.Descriptor
	src := filepath.Join(t.TempDir(), "src")
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		write(t, filepath.Join(src, "platform"), platform)
		res := p.build(t, veneer.BuildRequest{
			Base:          "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}},
			ReadOptions:   veneer.ReadOptions{Platform: platform},
			ImageOptions:  veneer.ImageOptions{Tags: []string{r.Addr() + "/multi:" + filepath.Base(platform)}},
		})
		_, err := registry.Push(p.ctx, p.engine.Client, res.Names[0], o)
		must(t, err)
		d := res.Target
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: filepath.Base(platform)}
		manifests = append(manifests, d)
	}
	crane, err := harness.Crane()
	harness.Check(t, err)
	name := r.Addr() + "/multi:all"
	command(t, crane, "index", "append", "--insecure", "-t", name, "-m", r.Addr()+"/multi:amd64", "-m", r.Addr()+"/multi:arm64")

	node := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	o.AllPlatforms = true
	pulled, err := veneer.Pull(node.ctx, node.engine, name, o)
	must(t, err)
	for _, m := range manifests {
		img, err := content.ResolveTarget(node.ctx, node.engine.Client.ContentStore(), pulled.Target, "linux/"+m.Platform.Architecture)
		must(t, err)
		if img.Manifest.Digest != m.Digest || len(img.Missing) > 0 {
			t.Errorf("%s is %s, want %s, %d layers missing", m.Platform.Architecture, img.Manifest.Digest, m.Digest, len(img.Missing))
		}
	}
	if n := committed(t, node); n != 1 {
		t.Errorf("%d snapshots, want the host's platform alone", n)
	}
	again := r.Addr() + "/elsewhere/multi:all"
	_, err = content.Tag(node.ctx, node.engine.Client, name, again)
	must(t, err)
	if d, err := registry.Push(node.ctx, node.engine.Client, again, o); err != nil || d.Digest != pulled.Target.Digest {
		t.Errorf("pushed %s, %v", d.Digest, err)
	}
}
