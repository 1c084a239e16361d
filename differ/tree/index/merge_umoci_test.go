package index

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/snapshot/unpack"
	"github.com/veneer-build/veneer/test/harness"
)

// writeLayout writes layers as an image in an OCI layout.
func writeLayout(dir string, layers [][]byte) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	add := func(mediaType string, data []byte) (ocispec.Descriptor, error) {
		d := digest.FromBytes(data)
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, os.WriteFile(filepath.Join(blobs, d.Encoded()), data, 0o600)
	}
	addJSON := func(mediaType string, v any) (ocispec.Descriptor, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		return add(mediaType, data)
	}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		desc, err := add(ocispec.MediaTypeImageLayer, l)
		if err != nil {
			return err
		}
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
	}
	var err error
	if manifest.Config, err = addJSON(ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	desc, err := addJSON(ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ocispec.ImageIndexFile), index, 0o600)
}

// forUmoci is false for what umoci refuses, or does in its own way: global
// headers, the metadata of hard links, attributes that a type of file cannot have, setgid directories,
// owners that mean none.
func forUmoci(h treetest.Header) bool {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, tar.TypeLink:
		return false
	case tar.TypeReg:
	case tar.TypeDir:
		// The directories that an entry implies inherit the bit from others.
		if h.Mode&0o2000 != 0 {
			return false
		}
	default:
		if len(h.PAXRecords) > 0 {
			return false
		}
	}
	return h.Uid != 1<<32-1 && h.Gid != 1<<32-1
}

// fileWithDirectoryTime reports whether a file has the time of a directory's
// entry. After all entries of a layer containerd sets the times of its directory
// entries, on what their paths lead to by then. That is a file where a later
// entry replaced the directory, or made a symbolic link on the way. Umoci sets
// each time at once, so such files have their own. Containerd's way is the rule,
// and "dir becomes file" in [mergeCases] holds merge to it.
func fileWithDirectoryTime(n *node) bool {
	if n.dir != nil {
		return slices.ContainsFunc(n.dir.list, func(c child) bool { return fileWithDirectoryTime(c.node) })
	}
	var own node
	own.setTime(n.rec)
	return n.mtime != own.mtime || n.nsec != own.nsec
}

// addsToXattrs reports whether a directory's entry went upon a directory that
// has attributes which the entry lacks. On one of the same layer containerd
// leaves them, as "xattrs" in [mergeCases] has it; umoci clears them first.
func addsToXattrs(h treetest.Header, m *Merged) bool {
	if h.Typeflag != tar.TypeDir {
		return false
	}
	a := newApplier(MergeOptions{Direct: true})
	a.root = m.root
	_, n, err := a.resolve(path.Clean(h.Name))
	if err != nil || n == nil {
		return false
	}
	for k := range n.xattrs {
		if _, ok := h.PAXRecords[paxXattr+k]; !ok {
			return true
		}
	}
	return false
}

// inSeconds leaves out nanoseconds, of which umoci loses some.
func inSeconds(f treetest.Flat) treetest.Flat {
	out := treetest.Flat{}
	for p, s := range f {
		out[p] = nanoseconds.ReplaceAllString(s, "$1")
	}
	return out
}

// dropImplied leaves out directories that containerd makes on the way to a
// whiteout, and umoci does not.
func dropImplied(f, want treetest.Flat) {
	for p, s := range f {
		if _, there := want[p]; !there && strings.HasPrefix(s, "40755 0:0 size=0 rdev") {
			delete(f, p)
		}
	}
}

var nanoseconds = regexp.MustCompile(`( t=\d+)\.\d+`)

// TestMergeRandomUmoci compares random stacks that all of containerd's
// snapshotters agree upon, merged and as package unpack unpacks them, with what
// umoci unpacks.
func TestMergeRandomUmoci(t *testing.T) {
	needRoot(t)
	stacks, agreed := 0, 0
	var refused []string
	gen := rapid.Custom(func(rt *rapid.T) [][]byte {
		layers, _ := genStack(rt, MergeOptions{}, func(at int, h treetest.Header, m *Merged, err error) bool {
			// In the lowest layer a whiteout has nothing to do: for umoci, but not
			// for containerd, which removes files of the same layer.
			deletes := strings.Contains(h.Name, tree.WhiteoutPrefix)
			return err == nil && m.Divergence() == nil && forUmoci(h) && (at > 0 || !deletes) &&
				!fileWithDirectoryTime(m.root) && !addsToXattrs(h, m)
		})
		return layers
	})
	rounds := 40
	if os.Getenv("VENEER_SOAK") == "1" {
		rounds = 3000
	}
	seed := int(time.Now().UnixNano() >> 10)
	for i := range rounds {
		layers := gen.Example(seed + i)
		stacks++
		m, err := mergeTars(layers, MergeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := writeLayout(dir, layers); err != nil {
			t.Fatal(err)
		}
		since := time.Now().Add(-time.Second)
		rootfs, err := harness.TryUnpack(t, dir, "")
		if err != nil {
			refused = append(refused, err.Error())
			continue
		}
		agreed++
		want := treetest.FlattenDisk(t, rootfs, since)
		got := withoutDirectoryTimes(inSeconds(treetest.Flatten(t, m, want)))
		dropImplied(got, want)
		unpacked := withoutDirectoryTimes(inSeconds(treetest.FlattenDisk(t, unpackAll(t, layers), since)))
		dropImplied(unpacked, want)
		want = withoutDirectoryTimes(inSeconds(want))
		for what, have := range map[string]treetest.Flat{"merged": got, "unpacked": unpacked} {
			if p := have.Diff(want); p != "" {
				t.Errorf("seed %d, %x, %s (umoci is containerd here)\n%s\n%s", seed+i, sha256.Sum256(bytes.Join(layers, nil)), what, p, listTars(layers))
			}
		}
	}
	t.Logf("%d stacks, %d of them compared, %d refused by umoci: %q", stacks, agreed, len(refused), refused)
}

// unpackAll unpacks layers into one directory, and returns it.
func unpackAll(t *testing.T, layers [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, l := range layers {
		if err := unpack.Apply(t.Context(), bytes.NewReader(l), unpack.Target{Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func listTars(layers [][]byte) (s string) {
	for _, l := range layers {
		x, err := ScanLayer(context.Background(), bytes.NewReader(l), nil)
		if err != nil {
			return err.Error()
		}
		for _, r := range x.Records {
			s += fmt.Sprintf("%d %o %s -> %s\n", r.Kind, r.Mode, r.Path, r.Link)
		}
		s += "--\n"
	}
	return s
}
