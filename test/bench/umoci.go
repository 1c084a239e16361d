package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
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
	if err := warm(ctx, w.trees.v2); err != nil {
		return err
	}
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
	if all.layer, err = layoutTopLayer(t.layout, "2"); err != nil {
		return err
	}
	w.add(scenarioRebuild, rowUmoci, all)
	if _, err := quiet(ctx, "umoci", "remove", "--image", t.layout+":2"); err != nil {
		return err
	}
	_, err = quiet(ctx, "umoci", "gc", "--layout", t.layout)
	return err
}

func (t *umociTool) stop(*world) error { return nil }
