package cli_test

import (
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// wholeDockerfile is what people write: packages by apt, of a repository in the context; a secret and an agent; and a
// program that an earlier stage made.
const wholeDockerfile = `FROM debian:12-apt AS packages
RUN --mount=type=bind,source=repo,target=/repo \
    echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list && \
    apt-get update && apt-get install -y --no-install-recommends greeting && \
    rm -rf /var/lib/apt/lists/*
FROM packages AS builder
WORKDIR /src
COPY src .
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = hush && echo "secret seen" > /src/notes
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo "agent seen" >> /src/notes
FROM packages
COPY --from=builder --chown=33:33 /src /srv/app
ENV MODE=release
USER www-data
WORKDIR /srv/app
CMD ["sh", "-c", "greeting && cat notes main.txt && id -un && echo $MODE"]
`

const wholeOutput = "hello of a package\nsecret seen\nagent seen\nthe source\nwww-data\nrelease\n"

// TestDockerfileOnDaemons builds such a Dockerfile on each engine, pushes it to a registry, removes it, pulls it again,
// and runs it.
func TestDockerfileOnDaemons(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	registry := harness.NewRegistry(t)
	debian := harness.DebianAptImage(t)
	do := func(t *testing.T, b *bench, name string) {
		b.context(t)
		b.ok("load", debian)
		agent := listen(t)
		build := []string{"build", "app", "--secret", "id=token,src=token", "--ssh", "default=" + agent, "-t", name, "--source-date-epoch", "1750000000"}
		b.ok(build...)
		first := digestOf(t, b, name)
		b.ok(build...)
		if again := digestOf(t, b, name); again != first {
			t.Errorf("the same again is %s, and was %s", again, first)
		}
		b.ok("push", "--plain-http", name)
		b.ok("rmi", name)
		b.ok("prune", "--cache")
		b.ok("pull", "--plain-http", name)
		b.ok("verify", name)
		for _, secret := range []string{"hush", agent} {
			if out := b.ok("inspect", name); strings.Contains(out, secret) {
				t.Errorf("the config says %q", secret)
			}
		}
	}
	t.Run("embedded", func(t *testing.T) {
		do(t, newBench(t), registry.Addr()+"/embedded:1")
	})
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			harness.LeakCheck(t, d.Client(t), "overlayfs")
			name := registry.Addr() + "/" + string(kind) + ":1"
			do(t, newBench(t).onDaemon(d), name)
			if out := d.Run(t, name, "overlayfs"); out != wholeOutput {
				t.Errorf("it says %q, want %q", out, wholeOutput)
			}
		})
	}
}

// TestDockerfileOfGo: a stage compiles with this machine's toolchain, which is a named context, and a cache mount.
func TestDockerfileOfGo(t *testing.T) {
	harness.RequireRoot(t)
	d := harness.Start(t, harness.Containerd2)
	b := newBench(t).onDaemon(d)
	b.ok("load", harness.DebianImage(t))
	b.write("app/go.mod", "module example.com/app\n\ngo 1.21\n")
	b.write("app/Dockerfile", `FROM debian:12 AS build
WORKDIR /src
COPY . .
RUN --mount=type=bind,from=toolchain,target=/usr/local/go --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOTOOLCHAIN=local /usr/local/go/bin/go build -trimpath -o /out/app .
FROM scratch
COPY --from=build /out/app /app
ENTRYPOINT ["/app"]
`)
	for _, text := range []string{"one", "two"} {
		b.write("app/main.go", "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\""+text+"\") }\n")
		b.ok("build", "app", "--build-context", "toolchain="+filepath.Dir(harness.GoSource(t)), "-t", "app:"+text)
		if got := d.Run(t, "docker.io/library/app:"+text, "overlayfs"); got != text {
			t.Errorf("it says %q, want %q", got, text)
		}
	}
}

// context writes the build context of wholeDockerfile, with a repository of one package.
func (b *bench) context(t *testing.T) {
	t.Helper()
	harness.Check(t, harness.Installed("dpkg-deb", "dpkg"))
	b.write("token", "hush")
	b.write("app/Dockerfile", wholeDockerfile)
	b.write("app/.dockerignore", "tmp\n")
	b.write("app/src/main.txt", "the source\n")
	const control = "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: says hello\n"
	b.write("package/DEBIAN/control", control)
	b.write("package/usr/bin/greeting", "#!/bin/sh\necho hello of a package\n")
	program := filepath.Join(b.dir, "package/usr/bin/greeting")
	archive := filepath.Join(b.dir, "app/repo/greeting.deb")
	b.write("app/repo/readme", "")
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", filepath.Join(b.dir, "package"), archive)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	b.write("app/repo/Packages", fmt.Sprintf("%sFilename: ./greeting.deb\nSize: %d\nSHA256: %x\n\n", control, len(data), sha256.Sum256(data)))
}

// listen is the socket of an agent that nobody asks anything.
func listen(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "vnr-agent-") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close() // It may have been closed.
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "agent")
}

// digestOf is that of a named image.
func digestOf(t *testing.T, b *bench, name string) string {
	t.Helper()
	type image struct {
		Name   string
		Target struct{ Digest string }
	}
	for _, img := range decode[[]image](t, b.ok("images", "--format", "json")) {
		if img.Name == name {
			return img.Target.Digest
		}
	}
	t.Fatalf("there is no image %s", name)
	return ""
}
