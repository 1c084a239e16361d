package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/test/harness"
)

// Where the verbs' images are, and Veneer's memory, both below the temporary directory.
const (
	verbDir  = "verbs"
	verbRoot = "verbs-root"
)

// The images whose layers are many: how many, and of how many files those of the small one are.
const (
	verbLayers     = 10
	verbLayerFiles = 100
)

// What the images are, for the titles of tables.
const (
	aboutTree  = "Debian and the tree"
	aboutFull  = "Debian and the tree's second state"
	aboutTen   = "the tree in ten layers of equal size"
	aboutSmall = "ten layers of 100 files"
)

// verbImage is an image, as an archive and as a layout in a directory of its own.
type verbImage struct {
	name, about string
	dir         string
	layers      []string // the paths of the layers' blobs in the layout, the lowest first
	bytes       int64    // of these
	repeat      int      // how often a round brings it here
}

func (i *verbImage) archive() string { return filepath.Join(i.dir, "image.tar") }

func (i *verbImage) layout() string { return filepath.Join(i.dir, "layout") }

// in is the image's name in a registry.
func (i *verbImage) in(r *harness.Registry) string {
	return r.Addr() + "/" + strings.TrimPrefix(i.name, "docker.io/library/")
}

// makeImages makes all of them. They have no layer in common with another image that is here.
func (v *verbWork) makeImages(ctx context.Context) error {
	dir := v.path(verbDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	files, err := listFiles(v.trees.v1)
	if err != nil {
		return err
	}
	if len(files) < verbLayers*verbLayerFiles {
		return fmt.Errorf("%d files are too few; set BENCH_FILES higher", len(files))
	}
	tars := map[string]string{}
	for _, name := range []string{"debian", "1", "2"} {
		tars[name] = filepath.Join(dir, name+".tar")
		defer os.Remove(tars[name])
	}
	err = errors.Join(v.ownDebian(ctx, tars["debian"]), tarTree(ctx, tars["1"], v.trees.v1, "."), tarTree(ctx, tars["2"], v.trees.v2, "."))
	if err != nil {
		return err
	}
	v.tree = &verbImage{name: "docker.io/library/verbs-tree:1", about: aboutTree, repeat: 1}
	v.full = &verbImage{name: "docker.io/library/verbs-full:2", about: aboutFull}
	v.first = &verbImage{name: "docker.io/library/verbs-first:1"}
	v.ten = &verbImage{name: "docker.io/library/verbs-ten:1", about: aboutTen, repeat: 1}
	v.small = &verbImage{name: "docker.io/library/verbs-small:1", about: aboutSmall, repeat: shortRuns}
	tenths := split(files, verbLayers)
	return errors.Join(
		v.makeImage(ctx, v.tree, tars["debian"], tars["1"]),
		v.makeImage(ctx, v.full, tars["debian"], tars["2"]),
		v.makeLayered(ctx, v.ten, tenths),
		v.makeLayered(ctx, v.first, tenths[:1]),
		// From everywhere in the tree: the first of a Go tree are its programs.
		v.makeLayered(ctx, v.small, slices.Collect(slices.Chunk(spread(files, verbLayers*verbLayerFiles), verbLayerFiles))),
	)
}

// ownDebian writes the tar of Debian with a file more, so that no other image here has its layer.
func (v *verbWork) ownDebian(ctx context.Context, dest string) error {
	const name = "verbs.txt"
	if err := v.debianTar(ctx, dest); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(dest), name), []byte("of the verbs' images\n"), 0o644); err != nil {
		return err
	}
	_, err := quiet(ctx, "tar", "-rf", dest, "-C", filepath.Dir(dest), name)
	return err
}

// tarTree writes a tar of what is in a directory, below app.
func tarTree(ctx context.Context, dest, dir string, members ...string) error {
	_, err := quiet(ctx, append([]string{"tar", "-cf", dest, "--transform", `flags=rh;s,^\.,app,`, "-C", dir}, members...)...)
	return err
}

// makeLayered makes an image that has a layer for each group of the tree's files.
func (v *verbWork) makeLayered(ctx context.Context, img *verbImage, groups [][]file) error {
	var layers []string
	list := filepath.Join(v.path(verbDir), "list")
	for i, group := range groups {
		if err := os.WriteFile(list, []byte(members(group)), 0o644); err != nil {
			return err
		}
		layer := filepath.Join(v.path(verbDir), fmt.Sprintf("layer%d.tar", i))
		defer os.Remove(layer)
		if err := tarTree(ctx, layer, v.trees.v1, "--no-recursion", "--null", "-T", list); err != nil {
			return err
		}
		layers = append(layers, layer)
	}
	return v.makeImage(ctx, img, layers...)
}

// members are files, each after the directories on its path, as tar -T takes them.
func members(files []file) string {
	var b strings.Builder
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if name != "." {
			add(path.Dir(name))
			name = "./" + name
		}
		b.WriteString(name + "\x00")
	}
	for _, f := range files {
		add(f.path)
	}
	return b.String()
}

// split divides files, in their order, into groups of about as many bytes each.
func split(files []file, n int) [][]file {
	groups := make([][]file, n)
	all, done := total(files), int64(0)
	for _, f := range files {
		i := min(int(done*int64(n)/all), n-1)
		groups[i] = append(groups[i], f)
		done += f.size
	}
	return groups
}

// makeImage writes the archive and the layout of an image, and puts it into the registry.
func (v *verbWork) makeImage(ctx context.Context, img *verbImage, layers ...string) error {
	name, _, _ := strings.Cut(path.Base(img.name), ":") // skopeo takes no path with a colon
	img.dir = filepath.Join(v.path(verbDir), name)
	if err := os.MkdirAll(img.layout(), 0o755); err != nil {
		return err
	}
	if err := harness.WriteImage(img.archive(), harness.Image{Name: img.name, Layers: layers}); err != nil {
		return err
	}
	if _, err := quiet(ctx, "tar", "-xf", img.archive(), "-C", img.layout()); err != nil {
		return err
	}
	m, err := layoutManifest(img.layout(), "")
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		img.layers = append(img.layers, layoutBlob(img.layout(), l.Digest))
		img.bytes += l.Size
	}
	_, err = quiet(ctx, v.tools["crane"].command("push", "--insecure", img.layout(), img.in(v.registry))...)
	return err
}
