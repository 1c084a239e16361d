package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// updates is how many updates in a row are made.
const updates = 20

// TestTwentyUpdates makes update after update of an application on Debian by the program, each on the one before, and
// runs each. The layers stay few, each image holds what its version is, and the last one squashed is still the same. In
// the short form one containerd runs them.
func TestTwentyUpdates(t *testing.T) {
	daemons := harness.Daemons(t)
	if !soak() {
		daemons = daemons[:min(1, len(daemons))]
	}
	for _, kind := range daemons {
		t.Run(string(kind), func(t *testing.T) {
			const most = 6
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			p.loadDebian(t)
			app := t.TempDir()
			base, squashed := "debian:12", 0
			for i := 1; i <= updates; i++ {
				write(t, filepath.Join(app, "version"), strconv.Itoa(i)+"\n")
				write(t, filepath.Join(app, "parts", strconv.Itoa(i)), strings.Repeat("x", i))
				if i > 3 {
					must(t, os.Remove(filepath.Join(app, "parts", strconv.Itoa(i-3))))
				}
				name := fmt.Sprintf("app:%d", i)
				res := result(t, cli(t, "--engine", "containerd", "--address", p.daemon.Address(), "--root", p.engine.Root, "build", "--format", "json",
					"--from", base, "--sync", app+":/app", "-t", name, "--max-layers", strconv.Itoa(most), "-c", "ENV VERSION="+strconv.Itoa(i)))
				img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
				must(t, err)
				if len(img.Layers) > most || len(img.Layers) != len(img.DiffIDs) {
					t.Errorf("%s has %d layers", name, len(img.Layers))
				}
				if res.Squashed > 0 {
					squashed++
				}
				out := p.daemon.Run(t, "docker.io/library/"+name, "overlayfs", "/bin/sh", "-c", "cat /app/version; echo $VERSION; ls /app/parts | sort -n")
				if want := fmt.Sprintf("%d\n%[1]d\n%s", i, parts(i)); out != want {
					t.Errorf("%s: in a container %q, want %q", name, out, want)
				}
				base = name
			}
			if squashed != 3 {
				t.Errorf("%d updates squashed the layers", squashed)
			}
			last, err := content.Resolve(p.ctx, p.engine.Client, base, "")
			must(t, err)
			wantSame(t, "/app", describe(t, app, false), p.describe(t, last.ChainID, "/app", false))
			unpacked := harness.Unpack(t, p.layout(t, last.Manifest), last.Manifest.Digest.String())
			wantSame(t, "umoci", p.describe(t, last.ChainID, "", false), describe(t, unpacked, false))

			flat := result(t, cli(t, "--engine", "containerd", "--address", p.daemon.Address(), "--root", p.engine.Root, "squash", "--format", "json", base, "-t", "flat:1"))
			img, err := content.Resolve(p.ctx, p.engine.Client, "flat:1", "")
			must(t, err)
			if len(img.Layers) != 2 || !slices.Equal(img.Config.Config.Env, last.Config.Config.Env) {
				t.Errorf("squashed: %s", img.ManifestJSON)
			}
			wantEqualTrees(t, unpacked, harness.Unpack(t, p.layout(t, img.Manifest), flat.Digest.String()))
			if out := p.daemon.Run(t, "docker.io/library/flat:1", "overlayfs", "/bin/cat", "/app/version"); out != "20\n" {
				t.Errorf("squashed, in a container: %q", out)
			}
			// Its names gone, nothing keeps the chain.
			names := []string{"debian:12"}
			for i := 1; i <= updates; i++ {
				names = append(names, fmt.Sprintf("app:%d", i))
			}
			_, err = removeNames(p, names, true)
			must(t, err)
			p.wantComplete(t, "flat:1")
		})
	}
}

func parts(last int) string {
	var b strings.Builder
	for i := max(1, last-2); i <= last; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// TestDepth finds how many layers containers can be made of: VENEER_DEPTH says how many to try, one build on the other,
// in steps of ten from a hundred on. docs/images.md has what came out. Without it there is one build, on a base that is
// one layer short of twice what Veneer makes by itself.
func TestDepth(t *testing.T) {
	first := 1
	most, err := strconv.Atoi(os.Getenv("VENEER_DEPTH"))
	if err != nil {
		most = 2 * veneer.DefaultMaxLayers
		first = most - 1
	}
	harness.RequireRoot(t)
	base := deepImages(t, first)[first]
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			p.load(t, base, fmt.Sprintf("deep:%d", first))
			file := filepath.Join(t.TempDir(), "file")
			for depth := first + 1; depth <= most; depth++ {
				write(t, file, strconv.Itoa(depth))
				_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{
					Base:          fmt.Sprintf("deep:%d", depth-1),
					MaxLayers:     -1,
					TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: file, Dest: "/file"}}},
					ReadOptions:   veneer.ReadOptions{Reader: veneer.ReadIndex},
					LayerOptions:  veneer.LayerOptions{Epoch: &epoch},
					ImageOptions:  veneer.ImageOptions{Tags: []string{fmt.Sprintf("deep:%d", depth)}},
				})
				if err != nil {
					t.Fatalf("%d layers cannot be unpacked: %v", depth, err)
				}
				if depth != most && (depth < 100 || depth%10 > 0) {
					continue
				}
				out, err := p.daemon.TryRun(fmt.Sprintf("docker.io/library/deep:%d", depth), "overlayfs", "/hello")
				if err != nil || out != "hello\n" {
					t.Fatalf("%d layers do not run: %q, %v", depth, out, err)
				}
			}
			t.Logf("%d layers run", most)
		})
	}
}
