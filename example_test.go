package veneer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// exampleApp makes a directory with an application's files, and returns it and
// what removes it.
func exampleApp() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	for name, content := range map[string]string{"run": "#!/bin/sh\n", "lib/greeting": "hello\n", "lib/old": "not needed any more\n"} {
		put(filepath.Join(dir, name), content)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// put writes a file, and makes its directory.
func put(name, content string) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		log.Fatal(err)
	}
}

// exampleImages stores two versions of an application as app:1 and app:2-full,
// each as one layer on nothing.
func exampleImages(ctx context.Context, e *engine.Engine) {
	app, remove := exampleApp()
	defer remove()
	for _, tag := range []string{"app:1", "app:2-full"} {
		_, err := veneer.Build(ctx, e, veneer.BuildRequest{
			Base:          "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: app, Dest: "/app"}}},
			ImageOptions:  veneer.ImageOptions{Tags: []string{tag}, NoUnpack: true},
		})
		if err != nil {
			log.Fatal(err)
		}
		put(filepath.Join(app, "lib/greeting"), "good morning\n")
	}
}

// An image is built from files, and then another one on it, from files that
// have changed. The second layer holds only what differs. Here the engine is a
// temporary one, and the first base is empty. With a containerd it would be
// engine.Open, and an image like "debian:12" that was pulled before.
func ExampleBuild() {
	ctx := context.Background()
	e, closeEngine, err := veneer.OpenTemporary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = closeEngine() }()
	app, remove := exampleApp()
	defer remove()

	created := time.Unix(1700000000, 0) // The same files give the same digest.
	req := veneer.BuildRequest{
		Base:          "scratch",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: app, Dest: "/app"}}},
		LayerOptions:  veneer.LayerOptions{Epoch: &created},
		ImageOptions:  veneer.ImageOptions{Tags: []string{"app:1"}, NoUnpack: true},
	}
	req.Config.Changes = []string{`CMD ["/app/run"]`}
	first, err := veneer.Build(ctx, e, req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Names, "adds", first.Changes.Added.Count, "paths")

	put(filepath.Join(app, "lib/greeting"), "good morning\n")
	if err := os.Remove(filepath.Join(app, "lib/old")); err != nil {
		log.Fatal(err)
	}
	req.Base, req.Tags, req.Config.Changes = "app:1", []string{"app:2"}, nil
	second, err := veneer.Build(ctx, e, req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second.Names, "modifies", second.Changes.Modified.Count, "and deletes", second.Changes.Deleted.Count)
	// Output:
	// [docker.io/library/app:1] adds 5 paths
	// [docker.io/library/app:2] modifies 1 and deletes 1
}

// Diff tells what a build would change, and stores no image.
func ExampleDiff() {
	ctx := context.Background()
	e, closeEngine, err := veneer.OpenTemporary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = closeEngine() }()
	exampleImages(ctx, e)
	app, remove := exampleApp()
	defer remove()
	put(filepath.Join(app, "lib/new"), "a new file\n")

	res, err := veneer.Diff(ctx, e, veneer.DiffRequest{
		Base:          "app:1",
		NoUnpack:      true,
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: app, Dest: "/app"}, {Op: differ.Delete, Dest: "/app/run"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range res.Changes {
		fmt.Println(c.Kind, c.Path)
	}
	// Output:
	// A /app/lib/new
	// D /app/run
}

// Delta makes an image with exactly the files of app:2-full, as one layer on
// app:1. Who has app:1 needs only that layer.
func ExampleDelta() {
	ctx := context.Background()
	e, closeEngine, err := veneer.OpenTemporary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = closeEngine() }()
	exampleImages(ctx, e)

	res, err := veneer.Delta(ctx, e, veneer.DeltaRequest{
		Base: "app:1", Full: "app:2-full", IgnoreTimes: true,
		ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}, NoUnpack: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Names, "modifies", res.Changes.Modified.Count, "file")

	same, err := veneer.SameRootfs(ctx, e, veneer.SameRequest{A: "app:2", B: "app:2-full"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same files:", same.Same)
	// Output:
	// [docker.io/library/app:2] modifies 1 file
	// the same files: true
}

// Verify derives an image's digests again, and reports what does not fit.
func ExampleVerify() {
	ctx := context.Background()
	e, closeEngine, err := veneer.OpenTemporary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = closeEngine() }()
	exampleImages(ctx, e)

	res, err := veneer.Verify(ctx, e, veneer.VerifyRequest{Image: "app:1"})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range res.Findings {
		fmt.Println(f.Severity, f.Check, f.Message)
	}
	fmt.Println(res.Image, "has", res.Errors, "errors")
	// Output:
	// docker.io/library/app:1 has 0 errors
}

// Commit makes an image of what a container wrote. It needs a containerd, and
// root, so this example is only compiled.
func ExampleCommit() {
	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{Mode: engine.Containerd, Namespace: "k8s.io"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = e.Close() }()

	res, err := veneer.Commit(ctx, e, veneer.CommitRequest{
		Container:    "web-5d4c/nginx", // POD/CONTAINER
		Only:         []string{"/etc/nginx"},
		ImageOptions: veneer.ImageOptions{Tags: []string{"nginx:debugged"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Digest, "on", res.Base)
}
