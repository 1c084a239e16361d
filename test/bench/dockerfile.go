package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/test/harness"
)

// The scenarios and rows of Dockerfiles.
const (
	scenarioDockerfileOne  = "Dockerfile over the tree, one file changed"
	scenarioDockerfileSame = "Dockerfile over the tree, nothing changed"
	scenarioDockerfileGo   = "Dockerfile of a Go program, one file changed"
	scenarioDockerfileApt  = "Dockerfile with apt, nothing cached"

	rowOnto      = "**veneer** `--onto` the image before"
	rowOntoFirst = "**veneer** `--onto` the image before, the first time"
	rowSteps     = "**veneer**"
	rowBuildkitD = "BuildKit, unpacked"
	rowCompiler  = "`go build` alone"

	dockerTag     = "docker.io/library/dockerfile:1"
	dockerNew     = "docker.io/library/dockerfile:2"
	goBase        = "docker.io/library/gobase:1"
	dockerRoot    = "root-dockerfile"
	dockerPackage = 40 // packages of the Go program
)

// treeDockerfile is over the tree; what is above COPY . . is cached.
const treeDockerfile = `FROM ` + harness.DebianName + `
WORKDIR /app
COPY package*.json ./
RUN cp package.json /opt/installed
COPY . .
ENV MODE=production
CMD ["/app/run"]
`

// goDockerfile compiles with a cache that stays from build to build.
const goDockerfile = `FROM ` + goBase + ` AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache/go-build CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local /usr/local/go/bin/go build -trimpath -o /out/app .
FROM ` + harness.DebianName + `
COPY --from=build /out/app /app
CMD ["/app"]
`

// dockerfiles measures builds of two Dockerfiles with BuildKit and with Veneer, on one containerd, in turn.
type dockerfiles struct {
	*world
	buildkit *buildkitTool // nil: there is none
	// known are the blobs of the image before, by tool.
	known map[string]map[digest.Digest]bool
}

// dockerfile is the part of that name.
func dockerfile(ctx context.Context, w *world) (err error) {
	d := dockerfiles{world: w, known: map[string]map[digest.Digest]bool{}}
	if wants(w.tools, "buildkit") {
		d.buildkit = &buildkitTool{}
		defer func() { err = errors.Join(err, d.buildkitStop()) }()
		if err := d.buildkit.start(ctx, w); errors.Is(err, harness.ErrUnavailable) {
			w.note("SKIP: buildkit: %v", err)
			d.buildkit = nil
		} else if err != nil {
			return err
		}
	}
	if err := d.tree(ctx); err != nil {
		return err
	}
	if err := d.program(ctx); err != nil {
		return err
	}
	return d.apt(ctx)
}

func (d *dockerfiles) buildkitStop() error {
	if d.buildkit == nil {
		return nil
	}
	return d.buildkit.stop(d.world)
}

// source is a build context, its Dockerfile beside it, and the file that is changed.
type source struct{ dir, dockerfile, changed string }

func (d *dockerfiles) source(name, text string) (source, error) {
	s := source{dir: d.path(name), dockerfile: d.path(name + ".dockerfile")}
	if err := os.MkdirAll(s.dockerfile, 0o755); err != nil {
		return s, err
	}
	return s, os.WriteFile(filepath.Join(s.dockerfile, "Dockerfile"), []byte(text), 0o644)
}

// change gives the file bytes that nobody has seen.
func (s source) change() error {
	info, err := os.Stat(s.changed)
	if err != nil {
		return err
	}
	return changeFile(s.changed, info.Size(), false)
}

// tree measures the Dockerfile over the tree.
func (d *dockerfiles) tree(ctx context.Context) error {
	s, err := d.source("tree", treeDockerfile)
	if err != nil {
		return err
	}
	if err := copyTree(ctx, d.trees.v1, s.dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "package.json"), []byte("{}\n"), 0o644); err != nil {
		return err
	}
	// The file that changes is of the middle size.
	files, err := listFiles(d.trees.v1)
	if err != nil {
		return err
	}
	s.changed = filepath.Join(s.dir, middle(files).path)
	if err := d.first(ctx, s); err != nil {
		return err
	}
	for range d.rounds {
		if err := d.one(ctx, scenarioDockerfileOne, s, true); err != nil {
			return err
		}
		// Each was built from bytes of its own: now all from the same.
		if err := d.first(ctx, s); err != nil {
			return err
		}
		if err := d.one(ctx, scenarioDockerfileSame, s, false); err != nil {
			return err
		}
	}
	return nil
}

func middle(files []file) file {
	sorted := append([]file{}, files...)
	slices.SortFunc(sorted, func(a, b file) int { return cmp.Compare(a.size, b.size) })
	return sorted[len(sorted)/2]
}

// first builds with both tools what they find later.
func (d *dockerfiles) first(ctx context.Context, s source) error {
	if err := d.changeAndWarm(ctx, s, false); err != nil {
		return err
	}
	if d.buildkit != nil {
		if _, err := d.withBuildkit(ctx, s, dockerTag); err != nil {
			return err
		}
	}
	_, err := d.withVeneer(ctx, s, dockerTag)
	return err
}

// one measures one build of each tool. Before each the file is changed if it is to be.
func (d *dockerfiles) one(ctx context.Context, title string, s source, changed bool) error {
	for _, run := range []struct {
		row   string
		build func() (sample, error)
	}{
		{rowBuildkitD, func() (sample, error) { return d.withBuildkit(ctx, s, dockerTag) }},
		{rowSteps, func() (sample, error) { return d.withVeneer(ctx, s, dockerTag) }},
		// What an image holds is remembered once an image was built upon it.
		{rowOntoFirst, func() (sample, error) { return d.withVeneer(ctx, s, dockerNew, "--onto", dockerTag) }},
		{rowOnto, func() (sample, error) { return d.withVeneer(ctx, s, dockerNew, "--onto", dockerTag) }},
	} {
		if run.row == rowBuildkitD && d.buildkit == nil {
			continue
		}
		if err := d.changeAndWarm(ctx, s, changed); err != nil {
			return err
		}
		sample, err := run.build()
		if err != nil {
			return err
		}
		d.add(title, run.row, sample)
	}
	return nil
}

func (d *dockerfiles) changeAndWarm(ctx context.Context, s source, changed bool) error {
	if changed {
		if err := s.change(); err != nil {
			return err
		}
	}
	if err := warm(ctx, s.dir); err != nil {
		return err
	}
	return d.collect(ctx)
}

func (d *dockerfiles) withBuildkit(ctx context.Context, s source, tag string, args ...string) (sample, error) {
	m, err := measure(ctx, command{
		args: append(d.buildkit.ctl("build", "--progress=plain", "--frontend=dockerfile.v0", "--opt=image-resolve-mode=local",
			"--local=context="+s.dir, "--local=dockerfile="+s.dockerfile, "--output=type=image,name="+tag+",unpack=true"), args...),
		daemons: []int{d.buildkit.cmd.Process.Pid, d.pid},
	})
	if err != nil {
		return m, err
	}
	m.layer, err = d.fresh(ctx, buildkitNamespace, "buildkit "+s.dir, tag)
	return m, err
}

func (d *dockerfiles) withVeneer(ctx context.Context, s source, tag string, args ...string) (sample, error) {
	m, err := measure(ctx, command{
		args: append([]string{
			d.world.program, "build", "--engine", "containerd", "--address", d.daemon.Address(), "--namespace", namespace,
			"--snapshotter", snapshotter, "--root", d.path(dockerRoot), "--progress", "quiet",
			"--file", filepath.Join(s.dockerfile, "Dockerfile"), "--tag", tag, s.dir,
		}, args...),
		daemons: []int{d.pid},
	})
	if err != nil {
		return m, err
	}
	// An image onto another one is compared with that.
	what := "veneer " + s.dir
	if tag != dockerTag {
		if _, err := d.fresh(ctx, namespace, what, dockerTag); err != nil {
			return m, err
		}
		m.layer, err = d.fresh(ctx, namespace, what, tag)
		// The next is built onto what the Dockerfile alone makes, too.
		return m, errors.Join(err, d.forget(ctx, tag))
	}
	m.layer, err = d.fresh(ctx, namespace, what, tag)
	return m, err
}

// fresh is how many bytes an image's blobs have that the image before had not: those that were stored for it, and that a
// push sends. From then on it is the image before.
func (d *dockerfiles) fresh(ctx context.Context, namespace, what, name string) (bytes int64, err error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	img, err := d.client.ImageService().Get(ctx, name)
	if err != nil {
		return 0, err
	}
	m, err := d.manifest(ctx, name)
	if err != nil {
		return 0, err
	}
	now := map[digest.Digest]bool{}
	for _, desc := range append(m.Layers, m.Config, img.Target) {
		if now[desc.Digest] = true; !d.known[what][desc.Digest] {
			bytes += desc.Size
		}
	}
	d.known[what] = now
	return bytes, nil
}

// program measures the Dockerfile of a Go program, whose toolchain is in the base.
func (d *dockerfiles) program(ctx context.Context) error {
	s, err := d.source("program", goDockerfile)
	if err != nil {
		return err
	}
	if err := d.goImage(ctx); err != nil {
		return err
	}
	if err := writeProgram(s.dir); err != nil {
		return err
	}
	s.changed = filepath.Join(s.dir, "p0", "p.go")
	if err := d.first(ctx, s); err != nil {
		return err
	}
	if _, err := d.compile(ctx, s); err != nil {
		return err
	}
	for range d.rounds * shortRuns {
		if err := s.change(); err != nil {
			return err
		}
		c, err := d.compile(ctx, s)
		if err != nil {
			return err
		}
		d.add(scenarioDockerfileGo, rowCompiler, c)
		if err := d.one(ctx, scenarioDockerfileGo, s, true); err != nil {
			return err
		}
	}
	return nil
}

// compile is what the compiler takes, on the machine, with a cache of its own. It makes the program anew, as a step does
// in which there is none: one that is there, and would come out the same, is not linked again.
func (d *dockerfiles) compile(ctx context.Context, s source) (sample, error) {
	if err := os.RemoveAll(d.path("compiled")); err != nil {
		return sample{}, err
	}
	settle()
	root, err := quiet(ctx, "go", "env", "GOROOT")
	if err != nil {
		return sample{}, err
	}
	return measure(ctx, command{
		args: []string{filepath.Join(strings.TrimSpace(root), "bin", "go"), "-C", s.dir, "build", "-trimpath", "-o", d.path("compiled"), "."},
		env:  []string{"CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", "GOCACHE=" + d.path("gocache")},
	})
}

// goImage makes an image of Debian with this machine's Go, for both tools.
func (d *dockerfiles) goImage(ctx context.Context) error {
	root, err := quiet(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	engine := []string{"--engine", "containerd", "--address", d.daemon.Address(), "--namespace", namespace, "--snapshotter", snapshotter, "--root", d.path(dockerRoot)}
	archive := d.path("gobase.tar")
	for _, args := range [][]string{
		{"build", "--from", harness.DebianName, "--copy", strings.TrimSpace(root) + ":/usr/local/go", "--tag", goBase},
		{"save", goBase, "--output", archive},
	} {
		if _, err := quiet(ctx, append(append([]string{d.world.program}, args...), engine...)...); err != nil {
			return err
		}
	}
	if d.buildkit == nil {
		return nil
	}
	return errors.Join(d.load(buildkitNamespace, archive), os.Remove(archive))
}

// writeProgram writes a program of some packages that use the standard library, and nothing else.
func writeProgram(dir string) error {
	var main strings.Builder
	main.WriteString("package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\n")
	for i := range dockerPackage {
		fmt.Fprintf(&main, "\t\"example.com/program/p%d\"\n", i)
	}
	main.WriteString(")\n\nfunc main() {\n\tfmt.Println(http.DefaultClient")
	for i := range dockerPackage {
		fmt.Fprintf(&main, ", p%d.Text()", i)
	}
	main.WriteString(")\n}\n")
	files := map[string]string{"go.mod": "module example.com/program\n\ngo 1.21\n", "main.go": main.String()}
	for i := range dockerPackage {
		// A change is of the comment in the middle.
		files[fmt.Sprintf("p%d/p.go", i)] = fmt.Sprintf("package p%d\n\nimport \"strings\"\n\n// Text is a text.\nfunc Text() string { return strings.Repeat(\"%d\", 3) }\n%s", i, i, strings.Repeat("\n", 200))
	}
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	return nil
}
