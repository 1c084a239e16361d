package e2e

import (
	"fmt"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/test/harness"
)

// longestLabel is what a store takes of a label, name and value together.
const longestLabel = 4096

// TestSourceLabels: what says where a base's layer came from is nearly as long as a store takes, or just as long. A build
// leaves it alone and says nothing of the kind of its own layer; a push and a pull go on, though they cannot add to it.
func TestSourceLabels(t *testing.T) {
	r := harness.NewRegistry(t)
	key := "containerd.io/distribution.source." + strings.Split(r.Addr(), ":")[0]
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	for _, spare := range []int{0, 6} {
		t.Run(fmt.Sprint(spare), func(t *testing.T) {
			p := embedded(t)
			p.load(t, smallArchive(t), "small:1")
			store := p.engine.Client.ContentStore()
			label := func(d digest.Digest) string {
				info, err := store.Info(p.ctx, d)
				must(t, err)
				return info.Labels[key]
			}
			img, err := content.Resolve(p.ctx, p.engine.Client, "small:1", "")
			must(t, err)
			base := img.Layers[0].Digest
			long := repositories(longestLabel - len(key) - spare)
			_, err = store.Update(p.ctx, cstore.Info{Digest: base, Labels: map[string]string{key: long}}, "labels."+key)
			must(t, err)

			name := fmt.Sprintf("%s/somewhere/app%d:1", r.Addr(), spare)
			res := p.on(t, "small:1", name, "new\n")
			if got := label(res.Layer.Digest); got != "" || label(base) != long {
				t.Errorf("after the build the labels are %q, and of the base %q", got, label(base))
			}
			_, err = registry.Push(p.ctx, p.engine.Client, name, o)
			must(t, err)
			repo := fmt.Sprintf("somewhere/app%d", spare)
			if got := label(res.Layer.Digest); got != repo || label(base) != long {
				t.Errorf("after the push the labels are %q, and of the base %q", got, label(base))
			}
			p.remove(t, name)
			_, err = registry.Pull(p.ctx, p.engine.Client, name, o)
			must(t, err)
			p.wantBlob(t, img.Layers[0])
			if got := label(res.Layer.Digest); got != repo || label(base) != long {
				t.Errorf("after the pull the labels are %q, and of the base %q", got, label(base))
			}
			if found := p.verify(t, veneer.VerifyRequest{Image: name}); found.Errors > 0 {
				t.Errorf("verify says %q", findingTexts(found))
			}
		})
	}
}

// repositories returns names of repositories, in the form of the label, of so many bytes.
func repositories(length int) string {
	var b strings.Builder
	for i := 0; b.Len() < length; i++ {
		fmt.Fprintf(&b, "team/app%04d,", i)
	}
	return b.String()[:length-1] + "x"
}
