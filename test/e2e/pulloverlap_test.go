package e2e

import (
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// gate lets so many bytes of bodies pass until open says that the rest may.
type gate struct {
	left int64
	open func() bool
}

type gated struct {
	io.ReadCloser
	*gate
}

func (g gated) Read(p []byte) (int, error) {
	if g.left <= 0 && !g.open() {
		return 0, io.ErrClosedPipe
	}
	if g.left > 0 {
		p = p[:min(int64(len(p)), g.left)]
	}
	n, err := g.ReadCloser.Read(p)
	g.left -= int64(n)
	return n, err
}

// TestPullOverlaps: a layer's first files are in its snapshot while the registry still keeps the layer's second half, on
// all engines that let this process unpack. A pull that then breaks off leaves nothing.
func TestPullOverlaps(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	name := "/team/app:1"
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}}
	from := embedded(t)
	src := t.TempDir()
	for i := range 40 {
		data := make([]byte, 100_000) // which cannot be compressed
		rand.New(rand.NewSource(int64(i))).Read(data)
		write(t, filepath.Join(src, fmt.Sprintf("f%02d", i)), string(data))
	}
	from.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{r.Addr() + name}}})
	_, err := registry.Push(from.ctx, from.engine.Client, r.Addr()+name, o)
	must(t, err)
	img, err := content.Resolve(from.ctx, from.engine.Client, r.Addr()+name, "")
	must(t, err)
	layer := img.Layers[0]

	g := &gate{}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(&url.URL{Scheme: "http", Host: r.Addr()}) },
		ModifyResponse: func(res *http.Response) error {
			if strings.HasSuffix(res.Request.URL.Path, layer.Digest.String()) && res.Request.Method == http.MethodGet {
				res.Body = gated{res.Body, g}
			}
			return nil
		},
		FlushInterval: -1,
	})
	defer front.Close()
	remote := strings.TrimPrefix(front.URL, "http://") + name
	eachPlace(t, func(t *testing.T, p *place) {
		root := filepath.Join(p.engine.Root, "snapshotters")
		if p.daemon != nil {
			root = p.daemon.Root()
		}
		seen := false
		look := func() bool {
			for end := time.Now().Add(20 * time.Second); !seen && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				for _, pattern := range []string{"*/snapshots/*/fs/f00", "*/snapshots/*/f00"} {
					found, err := filepath.Glob(filepath.Join(root, pattern))
					seen = seen || err == nil && len(found) > 0
				}
			}
			return seen
		}
		before := p.stored(t)
		broken := o
		broken.Backoff = time.Millisecond
		*g = gate{layer.Size / 2, func() bool { look(); return false }}
		if _, err := veneer.Pull(p.ctx, p.engine, remote, broken); err == nil {
			t.Error("half a layer was pulled")
		}
		if !seen {
			t.Error("nothing was unpacked before the whole layer was there")
		}
		// What came of the layer is no blob yet. It stays for the next pull.
		p.collect(t)
		for one := range p.stored(t) {
			if !before[one] {
				t.Errorf("left: %s", one)
			}
		}
		*g = gate{open: func() bool { return true }}
		_, err := veneer.Pull(p.ctx, p.engine, remote, o)
		must(t, err)
		if res := p.verify(t, veneer.VerifyRequest{Image: remote}); res.Errors+res.Warnings > 0 || !res.Platforms[0].Compared {
			t.Errorf("%q", findingTexts(res))
		}
		p.remove(t, remote)
	})
}
