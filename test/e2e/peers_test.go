package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// peer serves what a containerd has to others, by the API of registries, by Spegel's rules (github.com/spegel-org/spegel
// pkg/oci, which cannot be had as a module here): a tag by the name of an image, a blob if a label says that it is of the
// registry and repository that are asked for. The registry is the query's ns, which containerd adds for a mirror.
type peer struct{ client *client.Client }

func (p peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repo, what, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	manifest := found
	if !found {
		repo, what, found = strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
	}
	if !found {
		return // the question whether this is a registry
	}
	ctx := namespaces.WithNamespace(r.Context(), "default")
	if err := p.serve(ctx, w, source{r.URL.Query().Get("ns"), repo}, what, manifest); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
	}
}

// source is where a blob can be fetched.
type source struct{ registry, repo string }

func (p peer) serve(ctx context.Context, w http.ResponseWriter, from source, what string, manifest bool) error {
	blob, err := digest.Parse(what)
	if err != nil {
		img, err := p.client.ImageService().Get(ctx, from.registry+"/"+from.repo+":"+what)
		if err != nil {
			return err
		}
		blob = img.Target.Digest
	}
	info, err := p.client.ContentStore().Info(ctx, blob)
	if err != nil {
		return err
	}
	if repos := info.Labels["containerd.io/distribution.source."+from.registry]; !slices.Contains(strings.Split(repos, ","), from.repo) {
		return fmt.Errorf("%s is of %q, not of %s", blob, repos, from.repo)
	}
	reader, err := p.client.ContentStore().ReaderAt(ctx, ocispec.Descriptor{Digest: blob})
	if err != nil {
		return err
	}
	defer reader.Close()
	body := io.NewSectionReader(reader, 0, reader.Size())
	if manifest {
		var is struct{ MediaType string }
		if err := json.NewDecoder(io.NewSectionReader(reader, 0, reader.Size())).Decode(&is); err != nil {
			return err
		}
		w.Header().Set("Content-Type", is.MediaType)
	}
	w.Header().Set("Docker-Content-Digest", blob.String())
	w.Header().Set("Content-Length", fmt.Sprint(reader.Size()))
	_, _ = io.Copy(w, body) // of a HEAD request nothing is sent
	return nil
}

// TestPeers: of three nodes one builds for a registry that is not there. The others pull by the registry's name, from that
// node, as containerd's hosts.toml says: of an update the thin layer travels, and nothing of what was built under another name.
func TestPeers(t *testing.T) {
	if os.Getenv("VENEER_SOAK") != "1" {
		t.Skip("three nodes pull a Debian from each other in `make soak`")
	}
	harness.RequireRoot(t)
	f := harness.NewFleet(t, 3)
	must(t, f.Registry.Stop())
	builder, others := f.Nodes[0], f.Nodes[1:]
	const repo = "registry.example.org/team/app"
	p := newPlace(t, builder.Daemon, "overlayfs")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", f.Address()+":0")
	must(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: peer{p.engine.Client}}}
	server.Start()
	t.Cleanup(server.Close)
	hosts := t.TempDir()
	write(t, filepath.Join(hosts, "registry.example.org/hosts.toml"), fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+f.Registry.Addr(), server.URL))

	pull := func(name string) (harness.Traffic, error) {
		var all harness.Traffic
		for _, node := range others {
			before, err := node.Traffic()
			must(t, err)
			if _, err := node.Daemon.Ctr("images", "pull", "--hosts-dir", hosts, name); err != nil {
				return all, err
			}
			after, err := node.Traffic()
			must(t, err)
			all.In += after.In - before.In
		}
		return all, nil
	}
	one, two := application(t, t.TempDir())
	p.loadDebian(t)
	build := func(base, source, name string) *veneer.Result {
		return p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
	}
	build("debian:12", one, repo+":1")
	first, err := pull(repo + ":1")
	must(t, err)
	thin := build(repo+":1", two, repo+":2")
	update, err := pull(repo + ":2")
	must(t, err)
	t.Logf("two nodes took in %d bytes of the first image, %d of the update, whose layer is %d bytes", first.In, update.In, thin.Layer.Size)
	if update.In*20 > first.In || update.In > 2*(thin.Layer.Size+100_000) {
		t.Errorf("the first image took %d bytes, the update %d, of a layer of %d", first.In, update.In, thin.Layer.Size)
	}
	for _, node := range others {
		node.Daemon.Run(t, repo+":2", "overlayfs", "sh", "-c", "grep -q new /app/new/deep/file && ! test -e /app/crypto/tls")
	}

	// A name that was not given by Veneer leaves its blobs to no registry.
	build("debian:12", two, "local:1")
	local, err := p.engine.Client.ImageService().Get(p.ctx, "docker.io/library/local:1")
	must(t, err)
	local.Name = repo + ":local"
	_, err = p.engine.Client.ImageService().Create(p.ctx, local)
	must(t, err)
	if _, err := pull(repo + ":local"); err == nil {
		t.Error("what was built as local:1 is served as the registry's")
	}
	_, err = content.Tag(p.ctx, p.engine.Client, "local:1", repo+":named")
	must(t, err)
	_, err = pull(repo + ":named")
	must(t, err)
}
