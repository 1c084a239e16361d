package e2e

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRegistry: the base is pulled from a real registry, which wants a password, and what is built on it pushed there:
// only what is new travels. Another daemon pulls the image with its own client, and runs it.
func TestRegistry(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistryWith(t, harness.RegistryOptions{Auth: true})
	config := t.TempDir()
	base := r.Addr() + "/team/debian:12"
	pushDebian(t, r, base)

	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: config}
	if _, err := registry.Pull(p.ctx, p.engine.Client, base, o); err == nil {
		t.Error("pulled without a password")
	}
	auth := base64.StdEncoding.EncodeToString([]byte(harness.RegistryUser + ":" + harness.RegistryPassword))
	write(t, filepath.Join(config, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.Addr(), auth))
	pulled, err := registry.Pull(p.ctx, p.engine.Client, base, o)
	must(t, err)

	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "hello"), "pushed\n")
	name := r.Addr() + "/team/app:1"
	req := veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}}
	req.Config.Changes = []string{`CMD ["cat", "/srv/hello"]`}
	built := p.build(t, req)
	desc, err := registry.Push(p.ctx, p.engine.Client, name, o)
	must(t, err)
	if desc.Digest != built.Digest || built.BaseDigest != pulled.Target.Digest {
		t.Errorf("pushed %s of %s, base %s of %s", desc.Digest, built.Digest, built.BaseDigest, pulled.Target.Digest)
	}
	img, err := content.Resolve(p.ctx, p.engine.Client, base, "")
	must(t, err)
	wantRequests(t, r, 2, "PUT /v2/team/app/blobs/uploads/") // layer and config
	wantRequests(t, r, 1, "POST /v2/team/app/blobs/uploads/?mount="+img.Layers[0].Digest.String(), "from=team/debian", " 201 ")
	wantRequests(t, r, 0, "PUT /v2/team/app/blobs/uploads/", img.Layers[0].Digest.Encoded())

	// Again: everything is there.
	_, err = registry.Push(p.ctx, p.engine.Client, name, o)
	must(t, err)
	wantRequests(t, r, 2, "PUT /v2/team/app/blobs/uploads/")

	for _, kind := range []harness.DaemonKind{harness.Containerd17, harness.Containerd16} {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			_, err := d.Ctr("images", "pull", "--plain-http", "--user", harness.RegistryUser+":"+harness.RegistryPassword, name)
			must(t, err)
			if out := d.Run(t, name, "overlayfs"); out != "pushed\n" {
				t.Errorf("it prints %q", out)
			}
		})
	}
}

// pushDebian puts the base into the registry, with a client that is not ours.
func pushDebian(t *testing.T, r *harness.Registry, name string) {
	t.Helper()
	crane, err := harness.Crane()
	harness.Check(t, err)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, args := range [][]string{
		{"auth", "login", r.Addr(), "-u", harness.RegistryUser, "-p", harness.RegistryPassword},
		{"push", harness.Extract(t, harness.DebianImage(t)), name},
	} {
		if out, err := exec.CommandContext(t.Context(), crane, args...).CombinedOutput(); err != nil {
			t.Fatalf("crane %s: %v: %s", args[0], err, out)
		}
	}
}

// wantRequests fails the test unless so many requests in the registry's access log hold all of the texts.
func wantRequests(t *testing.T, r *harness.Registry, want int, texts ...string) {
	t.Helper()
	lines, err := r.Requests(" HTTP/1.1\" ")
	must(t, err)
	got := 0
	for _, line := range lines {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			got++
		}
	}
	if got != want {
		t.Errorf("%d requests %q, want %d of\n%s", got, texts, want, strings.Join(lines, "\n"))
	}
}
