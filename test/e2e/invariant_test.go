package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

// seeds is how many pairs of trees the property tests try: VENEER_SEEDS, else a few.
func seeds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("VENEER_SEEDS")
	if text == "" {
		return 15
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("VENEER_SEEDS=%q: want a number from 1", text)
	}
	return n
}

// treePair makes two random trees. Directories that both have keep in the second what ACL they have in the first, as
// images do: a layer cannot take an attribute from a directory that exists.
func treePair(t *testing.T, seed int) (base, target string) {
	t.Helper()
	return treePairOf(t, seed, trees.Options{})
}

func treePairOf(t *testing.T, seed int, o trees.Options) (base, target string) {
	t.Helper()
	dir := t.TempDir()
	base, target = filepath.Join(dir, "base"), filepath.Join(dir, "target")
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	for _, tree := range []string{base, target} {
		must(t, os.Mkdir(tree, 0o755), trees.Make(tree, r, o))
	}
	const attr, isDir = "system.posix_acl_access", "040000 "
	both := describe(t, target, false)
	for p, line := range describe(t, base, false) {
		if !strings.HasPrefix(line, isDir) || !strings.HasPrefix(both[p], isDir) ||
			!strings.Contains(line, attr) || strings.Contains(both[p], attr) {
			continue
		}
		value := make([]byte, 1<<10)
		n, err := unix.Lgetxattr(filepath.Join(base, p), attr, value)
		must(t, err, unix.Lsetxattr(filepath.Join(target, p), attr, value[:n], 0))
	}
	return base, target
}

// exactly is a sync that makes the image's files the directory's.
func exactly(dir string) []veneer.TargetSpec {
	return []veneer.TargetSpec{{Op: differ.Sync, Source: dir, Dest: "/", Owner: "source", DirLinks: "replace"}}
}

// TestInvariant: for random pairs of trees, the image shows the second tree, whoever reads it: the snapshot, containerd's
// applier, umoci's unpacker. Its digest is the same on each engine and snapshotter, and however the base is read.
func TestInvariant(t *testing.T) {
	same := agreement{}
	eachPlace(t, func(t *testing.T, p *place) {
		for seed := range seeds(t) {
			t.Run(strconv.Itoa(seed), func(t *testing.T) { p.invariant(t, seed, same) })
		}
	})
}

func (p *place) invariant(t *testing.T, seed int, same agreement) {
	base, target := treePair(t, seed)
	names := []string{fmt.Sprintf("base:%d", seed), fmt.Sprintf("target:%d", seed)}
	how := []layer.Compression{layer.Gzip, layer.None, layer.Gzip, layer.Zstd}[seed%4]
	one := p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, LayerOptions: veneer.LayerOptions{Compression: how}, ImageOptions: veneer.ImageOptions{Tags: names[:1]}})
	req := veneer.BuildRequest{Base: names[0], TargetOptions: veneer.TargetOptions{Targets: exactly(target), ForceDelete: true}, LayerOptions: veneer.LayerOptions{Compression: how}, ImageOptions: veneer.ImageOptions{Tags: names[1:]}}
	two := p.build(t, req)

	wantSame(t, "first image", describe(t, base, false), p.describe(t, one.ChainID, "", false))
	want := describe(t, target, false)
	wantSame(t, "second image", want, p.describe(t, two.ChainID, "", false))
	for _, reader := range []veneer.ReaderKind{veneer.ReadIndex, veneer.ReadView} {
		req := req
		req.Reader, req.NoUnpack, req.NoCache, req.Tags = reader, true, true, nil
		if res := p.build(t, req); res.Digest != two.Digest {
			t.Errorf("read by %s the base gives %s, else %s", reader, res.Digest, two.Digest)
		}
	}
	what := fmt.Sprintf("digest of image %d", seed)
	if same[what] == "" {
		// The validator takes every layer for gzip's.
		p.reread(t, two, want, how == layer.Gzip)
	}
	same.check(t, what, two.Digest.String())
}

// reread has the image read by those who did not write it. What they see depends on its bytes alone, and so once is enough.
func (p *place) reread(t *testing.T, res *veneer.Result, want map[string]string, validate bool) {
	t.Helper()
	layout := p.layout(t, res.Target)
	if validate {
		if err := harness.Validate(t, layout, res.Digest.String()); err != nil {
			t.Error(err)
		}
	}
	times := p.describe(t, res.ChainID, "", true)
	applied := p.applied(t, res.Target)
	wantSame(t, "containerd's applier", want, describe(t, applied, false))
	wantSame(t, "containerd's applier, with times", times, describe(t, applied, true))
	unpacked := harness.Unpack(t, layout, res.Digest.String())
	wantSame(t, "umoci", want, describe(t, unpacked, false))
	wantSame(t, "umoci, with times", times, describe(t, unpacked, true))
}
