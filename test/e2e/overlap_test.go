package e2e

import (
	"bytes"
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

// overlapping builds an image of one layer, of which it takes a while to read the half.
func overlapping(t *testing.T, p *place, name string) *content.Image {
	t.Helper()
	src := t.TempDir()
	for i := range 40 {
		data := make([]byte, 100_000) // which cannot be compressed
		rand.New(rand.NewSource(int64(i))).Read(data)
		write(t, filepath.Join(src, fmt.Sprintf("f%02d", i)), string(data))
	}
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	return img
}

// wantOverlap brings the image twice: first bring gets half of it, and then the whole. The first half is unpacked before
// the rest is there, and nothing of it stays.
func (p *place) wantOverlap(t *testing.T, name string, img *content.Image, bring func(g *gate) error) {
	t.Helper()
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
		return false
	}
	before := p.stored(t)
	if err := bring(&gate{img.Layers[0].Size / 2, look}); err == nil {
		t.Error("half a layer was enough")
	}
	if !seen {
		t.Error("nothing was unpacked before the whole layer was there")
	}
	p.collect(t)
	for one := range p.stored(t) {
		if !before[one] {
			t.Errorf("left: %s", one)
		}
	}
	must(t, bring(&gate{open: func() bool { return true }}))
	if res := p.verify(t, veneer.VerifyRequest{Image: name}); res.Errors+res.Warnings > 0 || !res.Platforms[0].Compared {
		t.Errorf("%q", findingTexts(res))
	}
	p.remove(t, name)
}

// TestPullOverlaps: a layer's first files are in its snapshot while the registry still keeps the layer's second half, on
// all engines that let this process unpack. What came of a layer is no blob yet; it stays for the next pull.
func TestPullOverlaps(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	name := "/team/app:1"
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, Backoff: time.Millisecond}
	from := embedded(t)
	img := overlapping(t, from, r.Addr()+name)
	_, err := registry.Push(from.ctx, from.engine.Client, r.Addr()+name, o)
	must(t, err)
	var g *gate // set before each pull
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(&url.URL{Scheme: "http", Host: r.Addr()}) },
		ModifyResponse: func(res *http.Response) error {
			if strings.HasSuffix(res.Request.URL.Path, img.Layers[0].Digest.String()) && res.Request.Method == http.MethodGet {
				res.Body = gated{res.Body, g}
			}
			return nil
		},
		FlushInterval: -1,
	})
	defer front.Close()
	remote := strings.TrimPrefix(front.URL, "http://") + name
	eachPlace(t, func(t *testing.T, p *place) {
		p.wantOverlap(t, remote, img, func(next *gate) error {
			g = next
			_, err := veneer.Pull(p.ctx, p.engine, remote, o)
			return err
		})
	})
}

// TestLoadOverlaps: the same of an archive, as Veneer writes them.
func TestLoadOverlaps(t *testing.T) {
	harness.RequireRoot(t)
	from := embedded(t)
	const name = "docker.io/library/app:1"
	img := overlapping(t, from, name)
	archive := from.save(t, name)
	eachPlace(t, func(t *testing.T, p *place) {
		p.wantOverlap(t, name, img, func(g *gate) error {
			_, err := veneer.Load(p.ctx, p.engine, gated{io.NopCloser(bytes.NewReader(archive)), g}, veneer.LoadRequest{})
			return err
		})
	})
}
