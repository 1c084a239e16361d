package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// withBase makes an image "base" of a few files and links.
func (b *bench) withBase() *bench {
	b.t.Helper()
	b.write("base/app/old", "old")
	b.write("base/etc/passwd", "root:x:0:0::/:/bin/sh\n")
	for link, to := range map[string]string{
		"absolute": "/etc", "loop": "loop", "applink": "app",
	} {
		if err := os.Symlink(to, filepath.Join(b.dir, "base", link)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.ok("build", "--from", "scratch", "--copy", "base/:/", "-t", "base")
	return b
}

// eachUser runs a test as who runs it and as an ordinary user.
func eachUser(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Run("self", func(t *testing.T) { test(t, newBench(t).withBase()) })
	t.Run("user", func(t *testing.T) { test(t, newUserBench(t).withBase()) })
}

// What fails for what it finds: exit code 1, one line that names it and says
// what to do, and nothing is left.
func TestBadInput(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.badSources()
		for name, c := range map[string]struct {
			args  []string
			words []string
		}{
			"unknown base":      {[]string{"--from", "absent"}, []string{`"absent"`, "veneer pull", "veneer load"}},
			"unknown digest":    {[]string{"--from", "sha256:" + strings.Repeat("ab", 32)}, []string{"abab"}},
			"other platform":    {[]string{"--from", "base", "--platform", "linux/s390x"}, []string{"linux/s390x"}},
			"no source":         {[]string{"--from", "base", "--copy", "nowhere:/x"}, []string{"nowhere", "does not exist"}},
			"whiteout name":     {[]string{"--from", "base", "--copy", "whiteout:/w"}, []string{".wh.x", "rename or exclude"}},
			"whiteout dest":     {[]string{"--from", "base", "--copy", "file:/.wh.x"}, []string{".wh.x"}},
			"endless link":      {[]string{"--from", "base", "--copy", "file:/loop/f"}, []string{"/loop/f", "symbolic links"}},
			"sync of root":      {[]string{"--from", "base", "--sync", "dir/:/"}, []string{"would delete", "--force-delete", "--copy"}},
			"below a file":      {[]string{"--from", "base", "--copy", "file:/etc/passwd/x"}, []string{"/etc/passwd"}},
			"link or directory": {[]string{"--from", "base", "--sync", "links:/"}, []string{"dirlinks"}},
			"fifo as source":    {[]string{"--from", "base", "--copy", "fifo:/x"}, []string{"fifo", "neither a directory nor a regular file"}},
			"socket as source":  {[]string{"--from", "base", "--copy", "sockets/s:/x"}, []string{"sockets/s", "neither a directory nor a regular file"}},
			"unknown user":      {[]string{"--from", "base", "--copy", "src=file,dest=/x,chown=nobody"}, []string{"nobody", "use a number"}},
			"no ignore file":    {[]string{"--from", "base", "--copy", "src=dir,dest=/x,ignorefile=.none"}, []string{".none"}},
			"no iidfile":        {[]string{"--from", "base", "--copy", "file:/x", "--iidfile", "absent/iid"}, []string{"absent/iid"}},
			"not an archive":    {[]string{"--from", "base", "--copy", "type=tar,src=junk,dest=/x"}, []string{"junk", "broken"}},
			"cut archive":       {[]string{"--from", "base", "--copy", "type=tar,src=cut.tar,dest=/x"}, []string{"cut.tar", "truncated"}},
			"cut gzip":          {[]string{"--from", "base", "--copy", "type=tar,src=cut.tar.gz,dest=/x"}, []string{"cut.tar.gz", "truncated"}},
			"damaged gzip":      {[]string{"--from", "base", "--copy", "type=tar,src=damaged.tar.gz,dest=/x"}, []string{"damaged.tar.gz", "checksum"}},
			"empty archive":     {[]string{"--from", "base", "--copy", "type=tar,src=empty,dest=/x"}, []string{"empty"}},
			"climbing archive":  {[]string{"--from", "base", "--copy", "type=tar,src=climbing.tar,dest=/x"}, []string{"climbing.tar"}},
		} {
			t.Run(name, func(t *testing.T) {
				b := b.in(t)
				b.leavesNothing(func() { b.fails(1, c.words, quiet(append([]string{"build", "-t", "new"}, c.args...)...)...) })
			})
		}
		b.in(t).hasNoNew()
	})
}

// badSources makes what the cases above want to read.
func (b *bench) badSources() {
	b.t.Helper()
	b.write("file", "data")
	b.write("dir/new", "new")
	b.write("whiteout/.wh.x", "")
	b.write("links/applink/x", "")
	b.write("junk", strings.Repeat("no tar archive ", 100))
	b.write("empty", "")
	whole := archive(b.t, "a/file", strings.Repeat("content ", 1000))
	b.write("cut.tar", whole[:2000])
	zipped := compressed(b.t, whole)
	b.write("cut.tar.gz", zipped[:len(zipped)/2])
	b.write("damaged.tar.gz", zipped[:len(zipped)-8]+"\x00\x00\x00\x00"+zipped[len(zipped)-4:])
	b.write("climbing.tar", archive(b.t, "../../outside", "x"))
	if out, err := exec.CommandContext(b.t.Context(), "mkfifo", filepath.Join(b.dir, "fifo")).CombinedOutput(); err != nil {
		b.t.Fatalf("mkfifo: %v: %s", err, out)
	}
	b.socket("sockets/s")
}

// socket makes a socket that nobody listens on any more.
func (b *bench) socket(name string) {
	b.t.Helper()
	b.write(filepath.Join(filepath.Dir(name), "beside"), "beside")
	b.t.Chdir(filepath.Join(b.dir, filepath.Dir(name))) // a socket's path is short
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Base(name), Net: "unix"})
	if err != nil {
		b.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// in is the bench in a subtest.
func (b *bench) in(t *testing.T) *bench {
	t.Helper()
	sub := *b
	sub.t = t
	return &sub
}

// hasNoNew checks that the failed build named nothing: builds here are named "new".
func (b *bench) hasNoNew() {
	b.t.Helper()
	if out := b.ok("images"); strings.Contains(out, "new") {
		b.t.Errorf("there is an image of a failed build:\n%s", out)
	}
}

func archive(t *testing.T, name, data string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func compressed(t *testing.T, data string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestBrokenImageArchives(t *testing.T) {
	eachUser(t, func(_ *testing.T, b *bench) {
		b.badSources()
		for file, words := range map[string][]string{
			"junk":         {"not a tar archive"},
			"cut.tar":      {"ends early"},
			"cut.tar.gz":   {"ends early"},
			"empty":        {"empty"},
			"dir":          {"is a directory"},
			"none":         {"no such file"},
			"climbing.tar": {"leads out of the archive"},
		} {
			b.leavesNothing(func() { b.fails(1, append(words, file), quiet("load", "-t", "new", file)...) })
		}
		b.brokenImage()
		b.hasNoNew()
	})
}

// brokenImage loads an image archive cut off at many places, and with a byte
// of a blob changed.
func (b *bench) brokenImage() {
	b.t.Helper()
	whole := imageArchive(b.t)
	for _, cut := range []int{512, 1536, len(whole) / 3, len(whole) / 2, len(whole) * 3 / 4} {
		b.write("image.tar", whole[:cut])
		b.leavesNothing(func() { b.fails(1, []string{"image.tar", "cut off"}, quiet("load", "image.tar")...) })
	}
	damaged := []byte(whole)
	damaged[512+40] ^= 1 // in the first blob
	b.write("image.tar", string(damaged))
	b.leavesNothing(func() { b.fails(1, []string{"image.tar", "sha256"}, quiet("load", "image.tar")...) })
	b.write("image.tar", whole)
	b.ok(quiet("load", "-t", "whole", "image.tar")...)
	b.ok(quiet("build", "--from", "whole", "--copy", "file:/file", "-t", "more")...)
}

// imageArchive is an OCI archive that the harness writes, with archive/tar alone.
func imageArchive(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(layer, []byte(archive(t, "etc/hello", strings.Repeat("hello ", 1000))), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image.tar")
	if err := harness.WriteImage(path, harness.Image{Name: "docker.io/library/hello:1", Layers: []string{layer}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A socket cannot be stored: the build says so and goes on.
func TestSocketIsLeftOut(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.socket("sockets/s")
		o := b.try("build", "--from", "base", "--copy", "sockets/:/s", "-t", "new", "--format", "json")
		var res struct{ Warnings []string }
		if err := json.Unmarshal([]byte(o.out), &res); err != nil || o.code != 0 {
			t.Fatalf("exit code %d, %v: %s%s", o.code, err, o.out, o.stderr)
		}
		if !slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, `"s": left out`) }) {
			t.Errorf("warnings %q", res.Warnings)
		}
		if out := b.ok("diff", "--from", "new", "--copy", "sockets/:/s"); !strings.HasPrefix(out, "nothing differs") {
			t.Errorf("the rest is not in it:\n%s", out)
		}
	})
}

// Root reads everything; others are told what they cannot read.
func TestUnreadableSource(t *testing.T) {
	b := newUserBench(t).withBase()
	b.write("src/secret", "secret")
	b.write("src/private/file", "x")
	for path, mode := range map[string]os.FileMode{"src/secret": 0o600, "src/private": 0o700} {
		if err := os.Chmod(filepath.Join(b.dir, path), mode); err != nil {
			t.Fatal(err)
		}
		rel := strings.TrimPrefix(path, "src/")
		others := map[string]string{"secret": "private", "private": "secret"}[rel]
		for _, verb := range []string{"--copy", "--sync"} {
			b.leavesNothing(func() {
				b.fails(1, []string{rel, "permission denied"}, quiet("build", "--from", "base", verb,
					fmt.Sprintf("src=src,dest=/app,exclude=%s", others), "-t", "new")...)
			})
		}
	}
	b.ok(quiet("build", "--from", "base", "--copy", "src=src,dest=/app,exclude=secret,exclude=private", "-t", "new")...)
}

// What the command line alone shows to be wrong ends with 2, before anything
// is opened.
func TestWrongCommandLine(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{
		{"frobnicate"},
		{"build"},
		{"build", "--from", "scratch", "--bogus"},
		{"build", "--from", "Bad Name"},
		{"build", "--from", "scratch", "-t", "a:b:c"},
		{"build", "--from", "scratch", "-c", "RUN true"},
		{"build", "--from", "scratch", "-c", "COPY a b"},
		{"build", "--from", "scratch", "--copy", "nodest"},
		{"build", "--from", "scratch", "--copy", "type=zip,src=a,dest=/a"},
		{"build", "--from", "scratch", "--compression", "lzma"},
		{"build", "--from", "scratch", "--source-date-epoch", "today"},
		{"diff", "--exit-code", "--from", "scratch", "--copy", "x"},
		{"tag", "one"},
		{"rmi"},
		{"images", "--engine", "docker"},
	} {
		b.fails(2, nil, args...)
	}
	b.env = []string{"SOURCE_DATE_EPOCH=today"}
	b.fails(2, []string{"SOURCE_DATE_EPOCH"}, "build", "--from", "scratch", "-t", "x")
	if _, err := os.Stat(b.root); !os.IsNotExist(err) {
		t.Errorf("an engine was opened: %v", err)
	}
}
