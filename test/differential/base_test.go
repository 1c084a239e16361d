package differential_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/harness"
)

// old is the time of what the base and the contexts have: whatever is later was made by a build.
var old = time.Unix(1_600_000_000, 0)

// stub is a program for all that public Dockerfiles run and that is not here: it writes down how it was called, and
// makes the files that it was asked for.
const stub = `#!/bin/sh
name=${0##*/}
echo "$name $*" >> /var/log/stub
while [ $# -gt 0 ]; do
  case $1 in
  -o|--output|--prefix|-d) mkdir -p "$(dirname "$2")"; echo "$name made it" > "$2"; shift ;;
  install|ci) mkdir -p node_modules && echo "$2" > node_modules/.installed ;;
  build) [ "${2#-}" = "$2" ] && mkdir -p dist && cat ./* > dist/out 2>/dev/null ;;
  esac
  shift
done
exit 0
`

// stubs are what the stub is called.
const stubs = "apk apt-get npm yarn pnpm pip pip3 python python3 go cargo mvn gradle dotnet bundle composer php gcc make cmake curl java node nginx ruby poetry uv useradd groupadd addgroup adduser deno bun mix elixir rebar3 swift stack cabal flutter hugo jekyll terraform kubectl helm update-ca-certificates"

// applets are those of busybox that the Dockerfiles use.
const applets = "sh cat chmod chown cp cut date dd dirname echo env expr false find grep head id install ln ls mkdir mkfifo mknod mktemp mv printf pwd readlink rm rmdir sed sleep sort stat tail tar test touch tr true umask wc xargs which"

type node struct {
	name, data, link string
	mode             int64
	uid, gid         int
	attrs            map[string]string
}

// nodes are what a small root file system has: links to directories, hard links, owners, odd modes and attributes.
func nodes(busybox string) []node {
	all := []node{
		{name: "bin", link: "usr/bin"},
		{name: "sbin", link: "usr/sbin"},
		{name: "lib", link: "usr/lib"},
		{name: "usr/", mode: 0o755},
		{name: "usr/bin/", mode: 0o755},
		{name: "usr/sbin/", mode: 0o755},
		{name: "usr/lib/", mode: 0o755},
		{name: "usr/local/", mode: 0o755},
		{name: "usr/local/bin/", mode: 0o755},
		{name: "usr/share/", mode: 0o755},
		{name: "usr/src/", mode: 0o755},
		{name: "etc/", mode: 0o755},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, data: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnode:x:1001:1002::/home/node:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"},
		{name: "etc/group", mode: 0o644, data: "root:x:0:\napp:x:1000:\nstaff:x:50:app\nnode:x:1002:\nnogroup:x:65534:\n"},
		{name: "etc/issue", mode: 0o644, data: "small\n"},
		{name: "tmp/", mode: 0o1777},
		{name: "var/", mode: 0o755},
		{name: "var/log/", mode: 0o777},
		{name: "var/lib/", mode: 0o755},
		{name: "var/run", link: "/run"},
		{name: "run/", mode: 0o755},
		{name: "root/", mode: 0o700},
		{name: "home/", mode: 0o755},
		{name: "home/app/", mode: 0o750, uid: 1000, gid: 1000},
		{name: "home/node/", mode: 0o755, uid: 1001, gid: 1002},
		{name: "srv/", mode: 0o2775, gid: 50},
		{name: "opt/", mode: 0o755},
		{name: "dev/", mode: 0o755},
		{name: "proc/", mode: 0o755},
		{name: "sys/", mode: 0o755},
		{name: "opt/noted", mode: 0o640, uid: 7, data: "noted\n", attrs: map[string]string{"user.note": "n"}},
		{name: "opt/loop", link: "loop"},
		{name: "opt/nowhere", link: "/not/there"},
		{name: "opt/up", link: "../etc"},
		{name: "usr/bin/busybox", mode: 0o755, data: busybox},
		{name: "usr/lib/stub", mode: 0o755, data: stub},
	}
	for _, a := range strings.Fields(applets) {
		all = append(all, node{name: "usr/bin/" + a, link: "busybox"})
	}
	for _, s := range strings.Fields(stubs) {
		all = append(all, node{name: "usr/local/bin/" + s, link: "/usr/lib/stub"})
	}
	return all
}

// writeTar writes the root file system.
func writeTar(t *testing.T, path string, all []node) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	for _, n := range all {
		h := &tar.Header{Name: n.name, Mode: n.mode, Uid: n.uid, Gid: n.gid, Size: int64(len(n.data)), ModTime: old, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		switch {
		case n.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, n.link, 0o777
		case strings.HasSuffix(n.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		for k, v := range n.attrs {
			h.PAXRecords = map[string]string{"SCHILY.xattr." + k: v}
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write([]byte(n.data))
		must(t, err)
	}
	must(t, errors.Join(w.Close(), f.Close()))
}

// bases writes the archives of the base images, and returns their paths by what a test calls them.
func bases(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(harness.Busybox(t))
	must(t, err)
	dir := t.TempDir()
	lower, upper := filepath.Join(dir, "lower.tar"), filepath.Join(dir, "upper.tar")
	writeTar(t, lower, nodes(string(data)))
	writeTar(t, upper, []node{
		{name: "etc/", mode: 0o755},
		{name: "etc/issue", mode: 0o600, data: "rich\n"},
		{name: "opt/", mode: 0o755},
		{name: "opt/.wh.noted"},
		{name: "data/", mode: 0o770, uid: 1000, gid: 1000},
		{name: "data/seed", mode: 0o644, data: "seed\n"},
	})
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	out := map[string]string{}
	for name, img := range map[string]harness.Image{
		"plain": {Layers: []string{lower}, Config: ocispec.ImageConfig{Env: env, Cmd: []string{"sh"}}},
		"rich": {Layers: []string{lower, upper}, Config: ocispec.ImageConfig{
			Env: append(env, "LANG=C.UTF-8", "VERSION=1.2.3"), Entrypoint: []string{"/usr/bin/env", "--"}, Cmd: []string{"sh", "-c", "true"},
			WorkingDir: "/srv/app", User: "app", ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
			Labels: map[string]string{"org.example.base": "rich", "keep": "me"}, StopSignal: "SIGQUIT",
		}},
	} {
		img.Name = "docker.io/library/" + name + ":1"
		out[name] = filepath.Join(dir, name+".oci.tar")
		must(t, harness.WriteImage(out[name], img))
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
