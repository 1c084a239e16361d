package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const rowUmoci = "umoci `unpack`, rsync, `repack` (not unpacked)"

// umociTool unpacks the base, has rsync change it, and packs what differs.
type umociTool struct{ layout string }

func (t *umociTool) name() string { return "umoci" }

func (t *umociTool) start(ctx context.Context, w *world) error {
	for _, program := range []string{"umoci", "rsync"} {
		if _, err := exec.LookPath(program); err != nil {
			return unavailable("%s is not installed (Debian package %s)", program, program)
		}
	}
	version, err := quiet(ctx, "umoci", "--version")
	if err != nil {
		return err
	}
	w.versions = append(w.versions, strings.TrimSpace(version))
	t.layout = w.path("umoci")
	return w.exportLayout(ctx, t.layout)
}

// exportLayout writes base1 as an OCI layout, under the name "1".
func (w *world) exportLayout(ctx context.Context, dir string) error {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	archive := dir + ".tar"
	defer os.Remove(archive)
	if _, err := w.daemon.Ctr("images", "export", archive, base1); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := quiet(ctx, "tar", "-xf", archive, "-C", dir)
	return err
}

func (t *umociTool) round(ctx context.Context, w *world) error {
	if err := w.trees.refresh(); err != nil {
		return err
	}
	bundle := w.path("bundle")
	defer os.RemoveAll(bundle)
	settle()
	all := sample{}
	for _, args := range [][]string{
		{"umoci", "unpack", "--image", t.layout + ":1", bundle},
		{"rsync", "-a", "--delete", w.trees.v2 + "/", filepath.Join(bundle, "rootfs", "app") + "/"},
		{"umoci", "repack", "--image", t.layout + ":2", bundle},
	} {
		s, err := measure(ctx, command{args: args})
		if err != nil {
			return err
		}
		all.seconds += s.seconds
		all.rss = max(all.rss, s.rss)
	}
	var err error
	if all.layer, err = t.newestBlob(); err != nil {
		return err
	}
	w.add(scenarioRebuild, rowUmoci, all)
	if _, err := quiet(ctx, "umoci", "remove", "--image", t.layout+":2"); err != nil {
		return err
	}
	_, err = quiet(ctx, "umoci", "gc", "--layout", t.layout)
	return err
}

// newestBlob returns the size of the layer that was written last: next to its manifest and config, it is the largest.
func (t *umociTool) newestBlob() (int64, error) {
	dir := filepath.Join(t.layout, "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	infos := make([]os.FileInfo, 0, len(entries))
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return 0, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var size int64
	for _, info := range infos[:min(3, len(infos))] {
		size = max(size, info.Size())
	}
	return size, nil
}

func (t *umociTool) stop(*world) error { return nil }
