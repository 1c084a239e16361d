package cli_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// capabilities are the smallest set with which the embedded engine unpacks every file that there is.
// docs/engines.md names them.
var capabilities = []string{"chown", "dac_override", "fowner", "fsetid", "mknod", "setfcap", "sys_admin"}

// limited runs the program as root with the capabilities alone, and no way to get more.
func (b *bench) limited(caps []string, args ...string) outcome {
	b.t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		b.t.Skipf("SKIP: %v", err)
	}
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	cmd := b.command(args...)
	cmd.Args = append([]string{setpriv, "--bounding-set", set, "--inh-caps", "-all", "--no-new-privs", "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = setpriv
	return finish(b.t, cmd)
}

// TestSmallestCapabilities: root's builds need these capabilities and no others; without any one of them they say what is
// missing, or leave out the snapshot with a warning that does, and so without all.
func TestSmallestCapabilities(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("src/etc/set", "set")
	b.write("src/etc/group", "group")
	b.write("src/own/closed", "closed")
	at := func(name string) string { return filepath.Join(b.dir, name) }
	for _, err := range []error{
		unix.Mknod(at("src/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Lchown(at("src/etc/set"), 1000, 1000), unix.Chmod(at("src/etc/set"), 0o6755),
		os.Lchown(at("src/etc/group"), 0, 1000), unix.Chmod(at("src/etc/group"), 0o2755),
		os.Lchown(at("src/own/closed"), 1000, 1000), unix.Chmod(at("src/own/closed"), 0),
		os.Lchown(at("src/own"), 1000, 1000), unix.Chmod(at("src/own"), 0o500),
		unix.Setxattr(at("src/etc/group"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	build := func(root string, caps []string, how ...string) outcome {
		b := *b
		b.root = root
		return b.limited(caps, quiet(append([]string{"build"}, append(how, "--from", "scratch", "--copy", "src=src,dest=/,owner=source", "-t", "new", "--source-date-epoch", "1000000000")...)...)...)
	}
	whole := build(at("all"), capabilities)
	if whole.code != 0 || whole.stderr != "" {
		t.Fatalf("exit code %d: %s", whole.code, whole.stderr)
	}
	b.root = at("all")
	if o := b.limited(capabilities, "verify", "new"); o.code != 0 {
		t.Errorf("verify: exit code %d: %s%s", o.code, o.out, o.stderr)
	}
	b.ok("verify", "new")
	for _, missing := range capabilities {
		rest := slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return c == missing })
		o := build(at("no-"+missing), rest, "--format", "json")
		var res struct {
			Unpacked bool
			Warnings []string
		}
		switch err := json.Unmarshal([]byte(o.out), &res); {
		case missing == "dac_override":
			b.failed(o, 1, []string{"src/own", "permission denied"})
		case o.code != 0 || err != nil:
			t.Errorf("without %s: exit code %d, %v: %s", missing, o.code, err, o.stderr)
		case res.Unpacked || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "missing CAP_"+strings.ToUpper(missing)+")"):
			t.Errorf("without %s: unpacked %v, warnings %q", missing, res.Unpacked, res.Warnings)
		}
	}
	// The digest is the same where there is no snapshot.
	if err := os.RemoveAll(at("src/own")); err != nil {
		t.Fatal(err)
	}
	with, without := build(at("with"), capabilities), build(at("without"), nil)
	if without.code != 0 || without.out != with.out || with.out == "" {
		t.Errorf("without any: exit code %d, %s: %s; with: %s", without.code, without.out, without.stderr, with.out)
	}
}

// TestOrdinaryUserIsToldOnce: that nothing is unpacked for an ordinary user is one line, once, and none with --no-unpack.
func TestOrdinaryUserIsToldOnce(t *testing.T) {
	b := newUserBench(t)
	b.write("file", "data")
	build := func(more ...string) string {
		o := b.try(append([]string{"--progress", "plain", "build", "--from", "scratch", "--copy", "file:/file", "-t", "new"}, more...)...)
		if o.code != 0 {
			t.Fatalf("%v: exit code %d: %s", more, o.code, o.stderr)
		}
		return o.stderr
	}
	for _, c := range []struct {
		more []string
		want int
	}{{[]string{"--no-unpack"}, 0}, {nil, 1}, {nil, 0}, {[]string{"--no-unpack"}, 0}} {
		said := build(c.more...)
		if got := strings.Count(said, "not unpacked"); got != c.want || strings.Contains(said, "warning") || strings.Contains(said, "CAP_") {
			t.Errorf("%v: said %d times, want %d: %s", c.more, got, c.want, said)
		}
	}
}

// TestPrivateDirectories: whatever the umask is, nobody else can enter the engine's directory, and what is made for the
// time of a build is made for its user alone; the umask changes no digest.
func TestPrivateDirectories(t *testing.T) {
	b := newBench(t)
	b.write("src/a", "a")
	b.write("src/d/b", "b")
	b.sh("tar -cf src.tar src")
	var first string
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		b.root = filepath.Join(b.dir, "root", "of", "umask", string(rune('a'+umask%26)))
		if err := os.MkdirAll(filepath.Dir(b.root), 0o755); err != nil {
			t.Fatal(err)
		}
		temporary := filepath.Join(b.dir, "tmp")
		if err := errorsOf(os.RemoveAll(temporary), os.Mkdir(temporary, 0o777)); err != nil {
			t.Fatal(err)
		}
		b.env = []string{"TMPDIR=" + temporary, "SOURCE_DATE_EPOCH=1000000000"}
		cmd := b.command(quiet("build", "--from", "scratch", "--copy", "src/:/app", "--copy", "type=tar,src=src.tar,dest=/tar", "-t", "new")...)
		old := syscall.Umask(umask)
		err := cmd.Start()
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			if umask == 0o777 && os.Geteuid() != 0 {
				continue // It could not enter what it made.
			}
			t.Fatalf("umask %o: %v", umask, err)
		}
		info, err := os.Stat(b.root)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("umask %o: %v, %v", umask, info, err)
		}
		for _, sub := range []string{"content", "meta.db", "lock", "snapshotters"} {
			if info, err := os.Stat(filepath.Join(b.root, sub)); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("umask %o: %s: %v, %v", umask, sub, info, err)
			}
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("umask %o: left %v, %v", umask, left, err)
		}
		digest := strings.TrimSpace(b.ok("images", "--format", "json"))
		digest = digest[strings.Index(digest, "sha256:"):][:71]
		if first == "" {
			first = digest
		}
		if digest != first {
			t.Errorf("umask %o: %s, else %s", umask, digest, first)
		}
	}
}

func errorsOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestNoSecrets: what is in the environment, in the names of sources on this host, and in files that are excluded or
// deleted in the same build is in no blob, label, name or message, nor in what is remembered between builds.
func TestNoSecrets(t *testing.T) {
	b := newBench(t)
	const secret = "canary7f3a9c"
	b.write("src/plain", "plain")
	b.write("src/excluded", secret+"-excluded")
	b.write("src/later", secret+"-later")
	b.write("src/.ignore", "ignored\n.ignore\n")
	b.write("src/ignored", secret+"-ignored")
	b.write("home/"+secret+"-path/app/file", "app")
	b.write("only/taken", "taken")
	b.write("only/other", secret+"-other")
	b.env = []string{"PASSWORD=" + secret + "-env", "AWS_SECRET_ACCESS_KEY=" + secret + "-key"}
	args := []string{
		"--debug", "build", "--from", "scratch", "--copy", "src=src,dest=/app,exclude=excluded,ignorefile=.ignore", "--delete", "/app/later",
		"--copy", "home/" + secret + "-path/app/:/app2", "-t", "new",
	}
	for range 2 { // the second time with what the first remembers
		o := b.try(args...)
		if o.code != 0 {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
		for _, kind := range []string{"-env", "-key", "-excluded", "-later", "-ignored", "-other"} {
			if strings.Contains(o.out+o.stderr, secret+kind) {
				t.Errorf("%s is in the output: %s%s", kind, o.out, o.stderr)
			}
		}
	}
	b.builds("--from", "new", "--sync", "src=only,dest=/only,exclude=other")
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if i := strings.Index(string(data), secret); i >= 0 {
			t.Errorf("%s holds %q", path, data[i:min(len(data), i+40)])
		}
		if strings.Contains(string(data[:min(2, len(data))]), "\x1f\x8b") {
			if plain, err := exec.CommandContext(t.Context(), "zcat", path).Output(); err != nil || strings.Contains(string(plain), secret) {
				t.Errorf("%s, uncompressed, holds it: %v", path, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := b.ok("inspect", "new") + b.ok("history", "--no-trunc", "new"); strings.Contains(out, secret) {
		t.Error(out)
	}
}
