package dockerfile_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

// TestCopyForms: the forms of COPY, ADD and SYNC, against what BuildKit's reference
// says that they do.
func TestCopyForms(t *testing.T) {
	f := embedded(t)
	f.write("tree/a.txt", "a")
	f.write("tree/sub/b.txt", "b")
	f.write("tree/sub/c.log", "c")
	f.write("tree/skip/d.txt", "d")
	f.write(".dockerignore", "tree/skip\n*.tar\n!packed.tar\n")
	if err := os.Symlink("a.txt", filepath.Join(f.dir, "tree/link")); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&tar.Header{Name: "in/packed", Mode: 0o640, Size: 2, Uid: 7}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("p\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.write("packed.tar", packed.String())
	f.build(`FROM BASE
COPY tree /whole
COPY tree/*.txt tree/li* /some/
COPY --parents tree/./sub/*.txt /up/
COPY --exclude=**/*.log --chmod=u=rwX,go= tree/sub /few/
ADD packed.tar /un/
ADD --unpack=false packed.tar /kept/
COPY <<EOF /here/doc
text $HOME
EOF
COPY --chown=1:2 none* tree/a.txt /owned/
RUN stat -c '%u:%g' /owned /owned/a.txt /un/in/packed > /owners
RUN mkdir -p /synced/old && touch /synced/gone
SYNC tree/sub /synced
`)
	for dir, want := range map[string]map[string]string{
		"/whole":  {".": "755 dir", "a.txt": "644 a", "link": "-> a.txt", "sub": "755 dir", "sub/b.txt": "644 b", "sub/c.log": "644 c"},
		"/some":   {".": "755 dir", "a.txt": "644 a", "link": "644 a"},
		"/up":     {".": "755 dir", "sub": "755 dir", "sub/b.txt": "644 b"},
		"/few":    {".": "755 dir", "b.txt": "600 b"},
		"/un":     {".": "755 dir", "in": "755 dir", "in/packed": "640 p\n"},
		"/kept":   {".": "755 dir", "packed.tar": "644 " + packed.String()},
		"/here":   {".": "755 dir", "doc": "644 text \n"},
		"/synced": {".": "755 dir", "b.txt": "644 b", "c.log": "644 c"},
	} {
		t.Log(dir)
		f.want(f.files("built:1", dir), want)
	}
	if got := f.files("built:1", "/owners")["."]; got != "644 1:2\n1:2\n7:0\n" {
		t.Errorf("owners %q", got)
	}
}

// TestSync: a SYNC is none for a COPY of the same files, and one in what is built
// upon an image with ONBUILD SYNC.
func TestSync(t *testing.T) {
	f := embedded(t)
	f.write("src/new", "n")
	const old = "FROM BASE AS old\nRUN mkdir /d && touch /d/old\n"
	f.build(old + "FROM old AS a\nCOPY src /d\nFROM old AS b\nSYNC src /d\nFROM BASE\nCOPY --from=a /d /a\nCOPY --from=b /d /b\n")
	f.want(f.files("built:1", "/a"), map[string]string{".": "755 dir", "new": "644 n", "old": "644 "})
	f.want(f.files("built:1", "/b"), map[string]string{".": "755 dir", "new": "644 n"})
	f.build(old+"ONBUILD SYNC src /d\n", func(r *veneer.DockerfileRequest) { r.Tags = []string{"onbuild:1"} })
	_, w := f.build("FROM onbuild:1\n")
	f.want(f.files("built:1", "/d"), map[string]string{".": "755 dir", "new": "644 n"})
	if !w.ranStep("ONBUILD SYNC src /d") && !w.ranStep("] SYNC src /d") {
		t.Errorf("steps %q", w.ran)
	}
	_, _, err := f.try("FROM BASE\nSYNC none /d\n")
	if text := strings.Join(veneer.DockerfileExcerpts(err), ""); !strings.Contains(text, "SYNC none /d") {
		t.Errorf("error %v at %q", err, text)
	}
}

// TestTypes: as in BuildKit, no COPY puts a file in a directory's place or the
// reverse, and directories are made where a link leads that leads nowhere yet.
func TestTypes(t *testing.T) {
	f := embedded(t)
	f.write("file/x", "f")
	f.write("dir/x/in", "d")
	for text, want := range map[string]string{
		"COPY file /d/\nCOPY dir /d/\n":                         "/d/x is not a directory in the image",
		"COPY dir /d/\nCOPY file /d/\n":                         "/d/x is a directory in the image and a file in the source",
		"COPY dir /d/\nCOPY file/x /d/\n":                       "/d/x is a directory in the image and a file in the source",
		"RUN mkdir /d && ln -s nowhere /d/x\nCOPY dir /d/\n":    "/d/x is not a directory in the image",
		"COPY dir /d/\nCOPY dir /d/\nSYNC file /d\nRUN cat d/x": "",
	} {
		_, _, err := f.try("FROM BASE\n" + text)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) || strings.Count(got, "] COPY") > 1 {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
	f.build("FROM BASE\nRUN ln -s /data/app /app && ln -s made /other\nWORKDIR /app/sub\nCOPY file y/\nCOPY dir /other\n")
	root := f.files("built:1", "/")
	for name, want := range map[string]string{"app": "-> /data/app", "data/app/sub/y/x": "644 f", "other": "-> made", "made/x/in": "644 d"} {
		if root[name] != want {
			t.Errorf("%s: got %q, want %q", name, root[name], want)
		}
	}
}

// TestMounts: RUN --mount of each type, and what stays of it: nothing.
func TestMounts(t *testing.T) {
	f := embedded(t)
	f.write("in/file", "of the context\n")
	f.write("in/other", "not mounted\n")
	secret := func(r *veneer.DockerfileRequest) {
		r.Process.Secrets = map[string]veneer.Secret{"key": {Data: []byte("hidden")}}
	}
	const text = `FROM BASE AS stage
RUN mkdir /of && echo of the stage > /of/stage
FROM BASE
RUN --mount=type=secret,id=key --mount=type=secret,id=key,env=KEY test "$(cat /run/secrets/key)" = hidden -a "$KEY" = hidden
RUN --mount=type=cache,target=/cache cat /cache/* > /before || true; echo kept >> /cache/file
RUN --mount=type=tmpfs,target=/mem touch /mem/file && test "$(stat -f -c %T /mem)" = tmpfs
RUN --mount=type=bind,source=in/file,target=/bound/file cp /bound/file /copied && ls /bound > /listed
RUN --mount=type=bind,from=stage,source=/of,target=/stage,rw echo more > /stage/new && cat /stage/* > /both
RUN --network=none ! ls /sys/class/net | grep -v lo
`
	f.build(text, secret)
	root := func() map[string]string {
		all := f.files("built:1", "/")
		for name := range all {
			if !slices.Contains(strings.Fields("before copied listed both cache mem stage bound bound/file run/secrets"), name) {
				delete(all, name)
			}
		}
		return all
	}
	f.want(root(), map[string]string{"before": "644 ", "copied": "644 of the context\n", "listed": "644 file\n", "both": "644 more\nof the stage\n"})
	f.build(text, secret, func(r *veneer.DockerfileRequest) { r.NoCache = true })
	if got := root()["before"]; got != "644 kept\n" {
		t.Errorf("the cache mount had %q", got)
	}
	f.write("in/other", "changed\n")
	if _, w := f.build(text, func(r *veneer.DockerfileRequest) {
		r.Process.Secrets = map[string]veneer.Secret{"key": {Data: []byte("another")}}
	}); w.ranStep("RUN") {
		t.Errorf("another secret and a file that is not mounted: done again: %q", w.ran)
	}
}

// TestRefused: what is not allowed, or not there, is an error that says so.
func TestRefused(t *testing.T) {
	f := embedded(t)
	f.write("file", "1")
	for text, want := range map[string]string{
		"FROM BASE\nRUN --security=insecure true\n":               "every right on this host",
		"FROM BASE\nRUN --network=host true\n":                    "the host's network",
		"FROM BASE\nCOPY missing /\n":                             "missing",
		"FROM BASE\nRUN --mount=type=secret,id=x,required true\n": "secret x: there is no such secret",
		"FROM BASE\nCOPY file /etc/passwd/x\n":                    "passwd",
		"FROM BASE\nBUILD x\n":                                    "unknown instruction",
		"FROM BASE\nCOPY --from=nostage:1 /a /b\n":                "nostage",
		"FROM BASE\nADD https://127.0.0.1:1/file /b\n":            "fetch https://127.0.0.1:1/file",
	} {
		_, _, err := f.try(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

// TestPruneProcesses: what runs a RUN for a killed build is ended by a prune.
func TestPruneProcesses(t *testing.T) {
	f := embedded(t)
	// As a killed build leaves it: nobody has its lock.
	left := filepath.Join(f.Root, "run", "veneer-run-left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		p, err := veneer.Prune(f.ctx, f.Engine, veneer.PruneRequest{DryRun: dry})
		if err != nil || !slices.Equal(p.Processes, []string{"veneer-run-left"}) {
			t.Errorf("dry run %t: %q, %v", dry, p.Processes, err)
		}
		if _, err := os.Stat(left); os.IsNotExist(err) == dry {
			t.Errorf("dry run %t: %v", dry, err)
		}
	}
}

// TestRootOfRun: what RUN does to / itself is in no layer, as containerd's and BuildKit's
// own comparisons leave it out, and the user is told.
func TestRootOfRun(t *testing.T) {
	f := embedded(t)
	res, w := f.build("FROM BASE\nRUN chmod 711 / && chown 5:6 /\nRUN stat -c '%a %u:%g' /\n")
	if len(res.Dockerfile.Layers) > 0 || !strings.Contains(w.output.String(), "755 0:0") {
		t.Errorf("layers %+v, output %q", res.Dockerfile.Layers, w.output.String())
	}
	if !slices.ContainsFunc(w.warned, func(text string) bool { return strings.Contains(text, "/ itself") }) {
		t.Errorf("warned %q", w.warned)
	}
}

// TestPrune: what is pruned is made again.
func TestPrune(t *testing.T) {
	f := embedded(t)
	const text = "FROM BASE AS a\nRUN echo 1 > /one\nFROM BASE\nCOPY --from=a /one /two\nRUN --mount=type=cache,target=/c echo > /c/x\n"
	res, _ := f.build(text, epoch)
	p, err := veneer.PruneSteps(f.ctx, f.Engine, veneer.DefaultKeepSteps, veneer.DefaultKeepFor, false)
	if err != nil || p.Steps != 0 {
		t.Errorf("within the limit: %+v, %v", p, err)
	}
	p, err = veneer.PruneSteps(f.ctx, f.Engine, 0, veneer.DefaultKeepFor, false)
	if err != nil || p.Steps != 3 || p.Mounts != 1 {
		t.Errorf("all: %+v, %v", p, err)
	}
	if err := f.CollectGarbage(f.ctx); err != nil {
		t.Fatal(err)
	}
	again, w := f.build(text, epoch)
	if again.Digest != res.Digest || !w.ranStep("RUN echo 1") {
		t.Errorf("again: %s, %s before; done: %q", again.Digest, res.Digest, w.ran)
	}
}
