package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/harness"
)

// The rows that targets are about.
const (
	rowUnpackFloor = "floor: GNU `tar x` of the layers, one after the other, and a sync"
	rowPullFloor   = "floor: `crane pull`, then `tar x` and a sync"
	rowVerbLoad    = "**veneer load**"
	rowVerbPull    = "**veneer pull**"
	rowCtrImport   = "`ctr images import`"
	rowCtrPull     = "`ctr images pull`"
	rowNerdctlLoad = "`nerdctl load`"
	rowNerdctlPull = "`nerdctl pull`"
	rowDownload    = "`crane pull`, the download alone"
)

// toolShell is the machine's own shell.
const toolShell = "sh"

// verbTool is a program, as the start of its command lines.
type verbTool struct {
	start  []string
	daemon bool // containerd works for it
}

func (t verbTool) command(args ...string) []string { return append(slices.Clone(t.start), args...) }

// verbTools are those at hand. Without the one that fills the registry the error is harness.ErrUnavailable.
func (w *world) verbTools(ctx context.Context) (map[string]verbTool, error) {
	containerd, err := harness.ContainerdProgram()
	if err != nil {
		return nil, err
	}
	crane, err := harness.Crane()
	if err != nil {
		return nil, err
	}
	tools := map[string]verbTool{
		toolShell: {},
		"veneer": {start: []string{
			w.program, "--engine", "containerd", "--address", w.daemon.Address(), "--namespace", namespace,
			"--snapshotter", snapshotter, "--root", w.path(verbRoot), "--progress", "quiet",
		}, daemon: true},
		"ctr":   {start: []string{filepath.Join(filepath.Dir(containerd), "ctr"), "--address", w.daemon.Address(), "--namespace", namespace}, daemon: true},
		"crane": {start: []string{crane}},
	}
	// .cache/tools/crane-VERSION/bin/crane
	w.versions = append(w.versions, filepath.Base(filepath.Dir(filepath.Dir(crane))))
	for name, tool := range map[string]verbTool{
		"nerdctl": {start: []string{"--address", w.daemon.Address(), "--namespace", namespace, "--snapshotter", snapshotter}, daemon: true},
		"skopeo":  {start: []string{"--insecure-policy", "--tmpdir", w.temp}},
	} {
		program, err := exec.LookPath(name)
		if err != nil {
			w.note("SKIP: verbs: %s is not installed", name)
			continue
		}
		version, err := quiet(ctx, program, "--version")
		if err != nil {
			return nil, err
		}
		w.versions = append(w.versions, strings.TrimSpace(version))
		tool.start = slices.Insert(tool.start, 0, program)
		tools[name] = tool
	}
	return tools, nil
}

// unpackLine unpacks layers, $2 and those after it, into the directory $1.
const unpackLine = `dest=$1; shift; mkdir "$dest"; for layer; do tar -xzf "$layer" -C "$dest"; done; sync -f "$dest"`

// loads are what brings an image here from an archive.
func (v *verbWork) loads(img *verbImage) []verbRow {
	dest := v.path("verbs-floor")
	here := func(ctx context.Context) (int64, error) { return v.brought(ctx, img.name) }
	return []verbRow{
		{toolShell, rowUnpackFloor, shell(unpackLine, append([]string{dest}, img.layers...)...), removes(dest)},
		{"veneer", rowVerbLoad, []string{"load", img.archive()}, here},
		{"ctr", rowCtrImport, []string{"images", "import", img.archive()}, here},
		{"ctr", "`ctr images import --sync-fs`", []string{"images", "import", "--sync-fs", img.archive()}, here},
		{"nerdctl", rowNerdctlLoad, []string{"load", "-i", img.archive()}, here},
	}
}

// pulls are what brings an image here from a registry.
func (v *verbWork) pulls(img *verbImage) []verbRow {
	dest, layout, ref := v.path("verbs-floor"), v.path("verbs-layout"), img.in(v.registry)
	here := func(ctx context.Context) (int64, error) { return v.brought(ctx, ref) }
	args := append(v.tools["crane"].command(), ref, layout, dest)
	for _, l := range img.layers {
		args = append(args, filepath.Join(layout, strings.TrimPrefix(l, img.layout())))
	}
	return []verbRow{
		{"crane", rowDownload, []string{"pull", "--insecure", "--format=oci", ref, layout}, removes(layout)},
		{toolShell, rowPullFloor, shell(`"$1" pull --insecure --format=oci "$2" "$3"; shift 3; `+unpackLine, args...), removes(dest, layout)},
		{"veneer", rowVerbPull, []string{"pull", "--plain-http", ref}, here},
		{"ctr", rowCtrPull, []string{"images", "pull", "--plain-http", ref}, here},
		{"ctr", "`ctr images pull --sync-fs`", []string{"images", "pull", "--sync-fs", "--plain-http", ref}, here},
		{"nerdctl", rowNerdctlPull, []string{"pull", "--insecure-registry", "--quiet", ref}, here},
	}
}

// pushes are what sends an image.
func pushes(img *verbImage, ref string) []verbRow {
	return []verbRow{
		{tool: "veneer", label: "**veneer push**", args: []string{"push", "--plain-http", ref}},
		{tool: "ctr", label: "`ctr images push`", args: []string{"images", "push", "--plain-http", ref}},
		{tool: "nerdctl", label: "`nerdctl push`", args: []string{"push", "--insecure-registry", ref}},
		{tool: "skopeo", label: "`skopeo copy`, from a layout", args: []string{"copy", "--dest-tls-verify=false", "oci:" + img.layout(), "docker://" + ref}},
		{tool: "crane", label: "`crane push`, from a layout", args: []string{"push", "--insecure", img.layout(), ref}},
	}
}

// saves are what writes an archive.
func (v *verbWork) saves(img *verbImage) []verbRow {
	out := v.path("verbs-out.tar")
	after := func(context.Context) (int64, error) {
		info, err := os.Stat(out)
		if err != nil {
			return 0, err
		}
		return info.Size(), os.Remove(out)
	}
	return []verbRow{
		{"veneer", "**veneer save**", []string{"save", img.name, "-o", out}, after},
		{"ctr", "`ctr images export`", []string{"images", "export", out, img.name}, after},
		{"nerdctl", "`nerdctl save`", []string{"save", "-o", out, img.name}, after},
		{"skopeo", "`skopeo copy`, from a layout", []string{"copy", "oci:" + img.layout(), "oci-archive:" + out}, after},
	}
}

// squashes are what makes one layer of many. Each round's goes to a repository of its own.
func (v *verbWork) squashes(round int) []verbRow {
	flat := fmt.Sprintf("%s/flat-%d:1", v.registry.Addr(), round)
	return []verbRow{
		{"veneer", "**veneer squash**, nine layers onto the first", []string{"squash", v.ten.name, "--onto", v.first.name, "-t", tag2}, v.made},
		{"veneer", "**veneer delta** scratch, all ten", []string{"delta", "scratch", v.ten.name, "-t", tag2}, v.made},
		{"veneer", "**veneer delta** scratch `--no-unpack`, all ten", []string{"delta", "scratch", v.ten.name, "--no-unpack", "-t", tag2}, v.made},
		{"crane", "`crane flatten`, all ten, from and to a registry (not unpacked)", []string{"flatten", "--insecure", "-t", flat, v.ten.in(v.registry)}, func(ctx context.Context) (int64, error) {
			return v.remoteTopLayer(ctx, flat)
		}},
	}
}

// deltas are what makes the second state one thin layer upon the first.
func (v *verbWork) deltas() []verbRow {
	return []verbRow{{"veneer", "**veneer delta**", []string{"delta", v.tree.name, v.full.name, "-t", tag2}, v.made}}
}

// verifies are what derives an image again.
func (v *verbWork) verifies(img *verbImage) []verbRow {
	ref := img.in(v.registry)
	return []verbRow{
		{"veneer", "**veneer verify**, blobs and snapshots", []string{"verify", img.name}, nil},
		{"veneer", "**veneer verify** `docker://`, in its registry", []string{"verify", "--plain-http", "docker://" + ref}, nil},
		{"crane", "`crane validate`, in its registry", []string{"validate", "--insecure", "--remote", ref}, nil},
	}
}

// made returns the size of the layer that was made, and removes its image.
func (v *verbWork) made(ctx context.Context) (int64, error) {
	bytes, err := v.topLayer(ctx, namespace, tag2)
	if err != nil {
		return 0, err
	}
	return bytes, v.forget(ctx, tag2)
}

// remoteTopLayer is topLayer of an image in a registry.
func (v *verbWork) remoteTopLayer(ctx context.Context, ref string) (int64, error) {
	text, err := quiet(ctx, v.tools["crane"].command("manifest", "--insecure", ref)...)
	if err != nil {
		return 0, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return 0, err
	}
	if len(m.Layers) == 0 {
		return 0, fmt.Errorf("image %s has no layers", ref)
	}
	return m.Layers[len(m.Layers)-1].Size, nil
}

// removes makes what follows a command that leaves directories of which nothing is to be told.
func removes(dirs ...string) func(context.Context) (int64, error) {
	return func(context.Context) (bytes int64, err error) {
		for _, dir := range dirs {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return 0, err
	}
}

// blobDir is where the daemon keeps its blobs.
func (v *verbWork) blobDir() string {
	return filepath.Join(v.daemon.Root(), "io.containerd.content.v1.content")
}

// snapshotDir is where it keeps the files of its snapshots.
func (v *verbWork) snapshotDir() string {
	return filepath.Join(v.daemon.Root(), "io.containerd.snapshotter.v1."+snapshotter)
}
