package faults_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/trees"
)

// state is all that the daemon keeps and all that the program has on disk, a line each. Lines that begin with a "!"
// are of what must not outlive a run.
type state map[string]bool

func (w *world) state() state {
	w.t.Helper()
	s := state{}
	add := func(format string, args ...any) { s[fmt.Sprintf(format, args...)] = true }
	images, err := w.client.ImageService().List(w.ctx)
	must(w.t, err)
	for _, img := range images {
		add("image %s %s %v", img.Name, img.Target.Digest, img.Labels)
	}
	must(w.t, w.client.ContentStore().Walk(w.ctx, func(info cstore.Info) error {
		add("blob %s %v", info.Digest, info.Labels)
		return nil
	}))
	ingests, err := w.client.ContentStore().ListStatuses(w.ctx)
	must(w.t, err)
	for _, in := range ingests {
		add("! ingest %s", in.Ref)
	}
	must(w.t, w.client.SnapshotService(w.snapshotter).Walk(w.ctx, func(_ context.Context, info snapshots.Info) error {
		mark := "! "
		if info.Kind == snapshots.KindCommitted || strings.HasPrefix(info.Name, "container") {
			mark = ""
		}
		add("%s%s snapshot %s on %q %v", mark, strings.ToLower(info.Kind.String()), info.Name, info.Parent, info.Labels)
		return nil
	}))
	leases, err := w.client.LeasesService().List(w.ctx)
	must(w.t, err)
	for _, l := range leases {
		mark := "! "
		if strings.HasPrefix(l.ID, "veneer-step-") { // which stays for later builds
			mark = ""
		}
		add("%slease %s", mark, l.ID)
	}
	containers, err := w.client.ContainerService().List(w.ctx)
	must(w.t, err)
	for _, c := range containers {
		if !strings.HasPrefix(c.ID, "container") {
			add("! container %s", c.ID)
		}
	}
	// One that the daemon lists no more, since it lost its name.
	dirs, err := filepath.Glob(filepath.Join(w.daemon.Root(), "io.containerd.content.v1.content", "ingest", "*"))
	must(w.t, err)
	for _, dir := range dirs {
		add("! ingest's directory %s", filepath.Base(dir))
	}
	w.addFiles(add)
	return s
}

// addFiles adds what the program has on disk.
func (w *world) addFiles(add func(string, ...any)) {
	w.t.Helper()
	for _, dir := range []string{w.tmp, w.root, w.out} {
		must(w.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			if cached(path) {
				return nil
			}
			mark := ""
			if dir == w.tmp || strings.HasPrefix(d.Name(), ".") {
				mark = "! "
			}
			if dir == w.tmp || !d.IsDir() {
				add("%sfile %s", mark, strings.TrimPrefix(path, w.dir+"/"))
			}
			return nil
		}))
	}
	f, err := os.Open("/proc/self/mountinfo")
	must(w.t, err)
	defer f.Close() // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.Contains(lines.Text(), w.dir+"/") {
			add("! mount %s", lines.Text())
		}
	}
	must(w.t, lines.Err())
}

// cached: a whole cache entry may be there or not. What is remembered depends on how old files are.
func cached(path string) bool {
	return strings.Contains(path, "/root/cache/") && !strings.HasPrefix(filepath.Base(path), ".")
}

// leftovers are the lines of what is in use.
func (s state) leftovers() []string {
	var all []string
	for line := range s {
		if strings.HasPrefix(line, "! ") {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// mentions reports whether there is a blob of the digest.
func (s state) mentions(digest string) bool {
	for line := range s {
		if strings.HasPrefix(line, "blob "+digest) {
			return true
		}
	}
	return false
}

// diff says how s is not want.
func (s state) diff(want state) []string {
	var all []string
	for _, line := range slices.Sorted(maps.Keys(s)) {
		if !want[line] {
			all = append(all, "+ "+line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(want)) {
		if !s[line] {
			all = append(all, "- "+line)
		}
	}
	return all
}

// within says what of s is in none of two states, nor kept by both.
func (s state) within(a, b state) []string {
	var all []string
	for _, line := range slices.Sorted(maps.Keys(s)) {
		if !a[line] && !b[line] {
			all = append(all, "+ "+line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(a)) {
		if b[line] && !s[line] {
			all = append(all, "- "+line)
		}
	}
	return all
}

// whole reads all of an image by its name: each blob, which must have its digest and size, and the files of its
// snapshot. It shares no code with what it tests, and returns the digest and a description of the files.
func (w *world) whole(name string) (digest.Digest, map[string]string, error) {
	img, err := w.client.ImageService().Get(w.ctx, name)
	if err != nil {
		return "", nil, err
	}
	data, err := w.blob(img.Target)
	if err != nil {
		return "", nil, fmt.Errorf("manifest: %w", err)
	}
	manifest := document[ocispec.Manifest](w, data)
	for _, layer := range manifest.Layers {
		if _, err := w.blob(layer); err != nil {
			return "", nil, fmt.Errorf("layer: %w", err)
		}
	}
	if data, err = w.blob(manifest.Config); err != nil {
		return "", nil, fmt.Errorf("config: %w", err)
	}
	config := document[ocispec.Image](w, data)
	chain := identity.ChainID(config.RootFS.DiffIDs)
	files, err := w.files(chain.String())
	return img.Target.Digest, files, err
}

func (w *world) blob(desc ocispec.Descriptor) ([]byte, error) {
	data, err := cstore.ReadBlob(w.ctx, w.client.ContentStore(), desc)
	if err == nil && digest.FromBytes(data) != desc.Digest {
		err = fmt.Errorf("%s has digest %s", desc.Digest, digest.FromBytes(data))
	}
	return data, err
}

// files describes the files of a snapshot.
func (w *world) files(chain string) (files map[string]string, err error) {
	sn := w.client.SnapshotService(w.snapshotter)
	mounts, err := sn.View(w.ctx, "look", chain, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "1"}))
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, sn.Remove(context.WithoutCancel(w.ctx), "look")) }()
	err = mount.WithReadonlyTempMount(w.ctx, mounts, func(dir string) error {
		files, err = trees.Describe(dir, true)
		return err
	})
	return files, err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
