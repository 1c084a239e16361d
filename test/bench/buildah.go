package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const rowBuildah = "buildah `bud --layers`, overlay storage"

// buildahTool is Debian's buildah on a storage of its own.
type buildahTool struct {
	dir  string
	base string // the base's ID
}

func (t *buildahTool) name() string { return "buildah" }

func (t *buildahTool) start(ctx context.Context, w *world) error {
	if _, err := exec.LookPath("buildah"); err != nil {
		return unavailable("buildah is not installed (Debian package buildah)")
	}
	version, err := quiet(ctx, "buildah", "--version")
	if err != nil {
		return err
	}
	w.versions = append(w.versions, strings.TrimSpace(version))
	t.dir = w.path("buildah")
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	policy := `{"default":[{"type":"insecureAcceptAnything"}]}`
	if err := os.WriteFile(filepath.Join(t.dir, "policy.json"), []byte(policy), 0o644); err != nil {
		return err
	}
	dockerfile := "FROM localhost/debian:12\nCOPY . /app\n"
	if err := os.WriteFile(filepath.Join(t.dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		return err
	}
	id, err := quiet(ctx, t.cmd("pull", "-q", "--signature-policy", filepath.Join(t.dir, "policy.json"), "oci-archive:"+w.debian)...)
	if err != nil {
		return err
	}
	t.base = strings.TrimPrefix(strings.TrimSpace(id), "sha256:")
	_, err = quiet(ctx, t.cmd("tag", t.base, "localhost/debian:12")...)
	return err
}

func (t *buildahTool) cmd(verb string, args ...string) []string {
	return append([]string{
		"buildah", "--root", filepath.Join(t.dir, "root"), "--runroot", filepath.Join(t.dir, "run"),
		"--storage-driver", "overlay", verb,
	}, args...)
}

func (t *buildahTool) round(ctx context.Context, w *world) error {
	for _, b := range []struct {
		title, source string
		fresh, touch  bool
	}{
		{"", w.trees.v1, false, false},
		{scenarioSame, w.trees.v1, false, false},
		{scenarioTimes, w.trees.touched, false, true},
		{scenarioRebuild, w.trees.v2, true, false},
	} {
		if b.fresh {
			if err := w.trees.refresh(); err != nil {
				return err
			}
		}
		if b.touch {
			if err := w.trees.touch(); err != nil {
				return err
			}
		}
		if err := warm(ctx, b.source); err != nil {
			return err
		}
		s, err := measure(ctx, command{args: t.cmd("bud", "-q", "--layers", "--pull-never", "--isolation=chroot",
			"--signature-policy", filepath.Join(t.dir, "policy.json"), "-f", filepath.Join(t.dir, "Dockerfile"), "-t", "localhost/app:2", b.source)})
		if err != nil {
			return err
		}
		if b.title == "" {
			continue
		}
		if b.fresh {
			if s.layer, err = t.layer(ctx, w); err != nil {
				return err
			}
		}
		w.add(b.title, rowBuildah, s)
	}
	return t.clean(ctx)
}

// layer returns the size that the new layer has where it is stored: buildah compresses on push.
func (t *buildahTool) layer(ctx context.Context, w *world) (int64, error) {
	dir := w.path("buildah-push")
	defer os.RemoveAll(dir)
	_, err := quiet(ctx, t.cmd("push", "-q", "--signature-policy", filepath.Join(t.dir, "policy.json"), "localhost/app:2", "oci:"+dir+":2")...)
	if err != nil {
		return 0, err
	}
	return layoutTopLayer(dir, "2")
}

// clean removes all images but the base. That is known by its ID: it is listed under each of its names, and removing
// an ID removes all of them.
func (t *buildahTool) clean(ctx context.Context) error {
	out, err := quiet(ctx, t.cmd("images", "--all", "--no-trunc", "--quiet")...)
	if err != nil {
		return err
	}
	ids := unique(slices.DeleteFunc(strings.Fields(out), func(id string) bool {
		return strings.TrimPrefix(id, "sha256:") == t.base
	}))
	if len(ids) == 0 {
		return nil
	}
	_, err = quiet(ctx, t.cmd("rmi", append([]string{"--force"}, ids...)...)...)
	return err
}

func (t *buildahTool) stop(*world) error { return nil }
