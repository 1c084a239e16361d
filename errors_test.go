package veneer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer"
)

// TestErrorsOfVerbs: what the verbs return tells its kind, and what it is about.
func TestErrorsOfVerbs(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "dir/f", "f")
	req := func(base string, specs ...veneer.TargetSpec) veneer.BuildRequest {
		r := veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: specs}}
		r.Tags, r.NoUnpack = []string{"app:1"}, true
		return r
	}
	mustBuild(t, e, req("scratch", veneer.TargetSpec{Op: veneer.OpCopy, Source: src, Dest: "/"}))
	build := func(r veneer.BuildRequest) error {
		_, err := veneer.Build(t.Context(), e, r)
		return err
	}
	edited := req("app:1")
	edited.Config.Changes = []string{"RUN true"}
	several := req("app:1")
	several.Platforms = []string{"linux/amd64", "linux/arm64"}
	_, missing := veneer.Inspect(t.Context(), e, "sha256:0123456789abcdef", "")
	for _, c := range []struct {
		what      string
		err, kind error
		ref, path string
	}{
		{"no base", build(req("")), veneer.ErrNoBase, "", ""},
		{"no image", build(req("absent:2")), veneer.ErrNoImage, "absent:2", ""},
		{"no digest", missing, veneer.ErrNoImage, "", ""},
		{"deletes", build(req("app:1", veneer.TargetSpec{Op: veneer.OpSync, Source: t.TempDir(), Dest: "/"})), veneer.ErrDeletes, "", "/dir"},
		{"no directory", build(req("app:1", veneer.TargetSpec{Op: veneer.OpCopy, Source: src, Dest: "/dir/f"})), veneer.ErrNotDir, "", "/dir/f"},
		{"instruction", build(edited), veneer.ErrNotConfig, "RUN", ""},
		{"one platform", build(several), veneer.ErrOnePlatform, "docker.io/library/app:1", ""},
	} {
		if !errors.Is(c.err, c.kind) {
			t.Errorf("%s: %v", c.what, c.err)
			continue
		}
		var typed *veneer.Error
		if !errors.As(c.err, &typed) {
			typed = &veneer.Error{}
		}
		if typed.Ref != c.ref || typed.Path != c.path {
			t.Errorf("%s: %q, %q of %v", c.what, typed.Ref, typed.Path, c.err)
		}
	}
	if err := build(req("absent:2")); !errdefs.IsNotFound(err) {
		t.Errorf("containerd's class: %v", err)
	}
	file := filepath.Join(src, "dir", "f")
	if _, err := veneer.Open(t.Context(), veneer.EngineOptions{Mode: veneer.EngineEmbedded, Root: file}); !errors.Is(err, veneer.ErrRoot) {
		t.Errorf("a root that is a file: %v", err)
	}
	gone := filepath.Join(src, "no.sock")
	_, err := veneer.Open(t.Context(), veneer.EngineOptions{Address: gone, Root: t.TempDir()})
	if !errors.Is(err, veneer.ErrUnreachable) || !errors.Is(err, veneer.ErrNotReplaced) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no daemon: %v", err)
	}
	if all := veneer.Errors(err); len(all) != 2 || all[0].Path != gone || all[1].Ref != "address" {
		t.Errorf("no daemon: %v", all)
	}
	_, err = veneer.Open(t.Context(), veneer.EngineOptions{Mode: veneer.EngineEmbedded, Root: t.TempDir(), Snapshotter: "zfs"})
	if all := veneer.Errors(err); !errors.Is(err, veneer.ErrNoSnapshotter) || all[0].Ref != "zfs" {
		t.Errorf("no snapshotter: %v", err)
	}
}

// Example_errors prints what a program makes of an error.
func Example_errors() {
	err := fmt.Errorf("start: %w", &veneer.Error{Kind: veneer.ErrInUse, Op: "remove image", Ref: "app:1"})
	var failed *veneer.Error
	if errors.Is(err, veneer.ErrInUse) && errors.As(err, &failed) {
		fmt.Println(failed.Op, failed.Ref)
	}
	fmt.Println(err)
	// Output:
	// remove image app:1
	// start: remove image app:1: a container uses it
}
