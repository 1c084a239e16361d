package cli_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// These are what settings of a systemd unit do to the program, without systemd: a filter of system calls, and mounts.

// restricted runs the program as in a unit with RestrictSUIDSGID=yes.
func (b *bench) restricted(args ...string) outcome {
	b.t.Helper()
	cmd := b.command(args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := harness.RunRestricted(cmd)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		harness.Check(b.t, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// mounted runs the program in a mount namespace that a script has prepared; $1 is the argument.
func (b *bench) mounted(script, argument string, args ...string) outcome {
	b.t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		b.t.Skipf("SKIP: %v", err)
	}
	cmd := b.command(args...)
	cmd.Args = append([]string{unshare, "--mount", "sh", "-ec", script + `; shift; exec "$@"`, "sh", argument, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = unshare
	return finish(b.t, cmd)
}

// readOnly mounts a directory so that nothing can be written there, whoever tries.
const readOnly = `mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"`

// TestRestrictSUIDSGID: without openat2 a source is read as safely another way; that files cannot get setuid bits is known
// before anything is unpacked, and the digests are the same.
func TestRestrictSUIDSGID(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("src/a/b/file", "data")
	b.write("src/tool", "tool")
	if err := errorsOf(os.Symlink("../../etc/passwd", filepath.Join(b.dir, "src/link")), unix.Chmod(filepath.Join(b.dir, "src/tool"), 0o4755)); err != nil {
		t.Fatal(err)
	}
	build := quiet("build", "--no-cache", "--from", "scratch", "--sync", "src/:/app", "-t", "new", "--source-date-epoch", "1000000000")
	want := b.ok(build...)
	b.root += "2"
	o := b.restricted(build...)
	if o.code != 0 || o.out != want {
		t.Errorf("exit code %d, %q, want %q: %s", o.code, o.out, want, o.stderr)
	}
	o = b.restricted("build", "--from", "new", "--copy", "src/tool:/tool", "-t", "new2")
	if o.code != 0 || !strings.Contains(o.stderr, "not unpacked") || !strings.Contains(o.stderr, "RestrictSUIDSGID=") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// TestRestrictSUIDSGIDOnDaemon: the daemon, which is not in the unit, unpacks setuid files then.
func TestRestrictSUIDSGIDOnDaemon(t *testing.T) {
	d := harness.Start(t, harness.Containerd2)
	b := newBench(t).onDaemon(d).withBase()
	b.write("tool", "tool")
	if err := unix.Chmod(filepath.Join(b.dir, "tool"), 0o4755); err != nil {
		t.Fatal(err)
	}
	if o := b.restricted("build", "--from", "base", "--copy", "tool:/tool", "-t", "new"); o.code != 0 || strings.Contains(o.stderr, "warning") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	b.ok("verify", "new")
}

// TestProcSubset: a unit with ProcSubset=pid has no /proc/sys, where the boot's ID is.
func TestProcSubset(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("file", "data")
	const subset = `mount -t proc -o subset=pid proc /proc; test ! -e /proc/sys`
	for _, args := range [][]string{
		{"build", "--from", "scratch", "--copy", "file:/file", "-t", "new"},
		{"prune"},
		{"verify", "new"},
		{"diff", "--from", "new", "--copy", "file:/other"},
	} {
		if o := b.mounted(subset, "-", quiet(args...)...); o.code != 0 {
			t.Errorf("%q: exit code %d: %s", args, o.code, o.stderr)
		}
	}
	b.ok("verify", "new")
}

// TestReadOnlyDaemonDirectory: where containerd's directory is read-only for this process, the diff service unpacks.
func TestReadOnlyDaemonDirectory(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			harness.LeakCheck(t, d.Client(t), "overlayfs")
			b := newBench(t).onDaemon(d).withBase()
			b.write("file", "data")
			o := b.mounted(readOnly, d.Root(), "--debug", "build", "--from", "base", "--copy", "file:/file", "-t", "new")
			if o.code != 0 || !strings.Contains(o.stderr, "applied by the diff service") || !strings.Contains(o.stderr, "read-only file system") {
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
			for _, args := range [][]string{{"verify", "new"}, {"diff", "base", "new"}, {"squash", "new", "--onto", "base", "-t", "new"}} {
				if o := b.mounted(readOnly, d.Root(), args...); o.code != 0 {
					t.Errorf("%q: exit code %d: %s", args, o.code, o.stderr)
				}
			}
			b.ok("verify", "new")
		})
	}
}

// TestUnitOfStranger: no setting of an image's config becomes another setting of the unit, names a file or a user of the host, or
// does anything to a terminal; what cannot be written is left out with a warning, or refused.
func TestUnitOfStranger(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("files/bin/sh", "#!")
	b.write("files/etc/passwd", "daemon:x:4321:4322::/:/bin/sh\n")
	if err := os.Chmod(filepath.Join(b.dir, "files/bin/sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(b.dir, "layer.tar")
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", filepath.Join(b.dir, "files"), "-cf", layer, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const more = "\nUser=0\nExecStartPre=+/bin/evil\n[Service]\n%h" + "\u009b31m\u202e"
	unit := func(edit func(*ocispec.ImageConfig)) outcome {
		c := ocispec.ImageConfig{Cmd: []string{"/bin/sh", more}, Env: []string{"A=" + more, "B" + more, "C=%H $x"}, User: "daemon"}
		edit(&c)
		archive := filepath.Join(b.dir, "image.tar")
		harness.Check(t, harness.WriteImage(archive, harness.Image{Name: "docker.io/library/odd:1", Layers: []string{layer}, Config: c}))
		b.ok(quiet("load", archive)...)
		return b.try("unit", "odd:1", "--stdout")
	}
	setting := regexp.MustCompile(`^(#.*|\[(Unit|Service)\]|(Description|RootDirectory|ExecStart|ExecStartPre|ExecStop|Environment|User|Group|KillSignal|StateDirectory|BindPaths)=.*|)$`)
	for name, c := range map[string]struct {
		edit func(*ocispec.ImageConfig)
		code int
		says string
	}{
		"command and variables": {func(*ocispec.ImageConfig) {}, 0, "left out: variable"},
		"stop signal":           {func(c *ocispec.ImageConfig) { c.StopSignal = "TERM" + more }, 0, "left out: the stop signal"},
		"volume":                {func(c *ocispec.ImageConfig) { c.Volumes = map[string]struct{}{"/a" + more: {}, "/../../x": {}} }, 0, "left out: the volume"},
		"directory":             {func(c *ocispec.ImageConfig) { c.WorkingDir = "/a" + more }, 0, "lacks its working directory"},
		"user":                  {func(c *ocispec.ImageConfig) { c.User = "daemon" + more }, 1, ""},
		"program":               {func(c *ocispec.ImageConfig) { c.Cmd = []string{"/bin/absent"} }, 1, "absent"},
	} {
		o := unit(c.edit)
		if o.code != c.code || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
		if strings.ContainsFunc(strings.ReplaceAll(o.out+o.stderr, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: a terminal could act upon it: %q", name, o.out+o.stderr)
		}
		for line := range strings.Lines(o.out) {
			line = strings.TrimSuffix(line, "\n")
			if !setting.MatchString(line) || strings.HasPrefix(line, "User=") && line != "User=4321" || strings.HasPrefix(line, "ExecStartPre=+") {
				t.Errorf("%s: there is the line %q", name, line)
			}
			if _, at, is := strings.Cut(line, "BindPaths="); is && at != "%S/veneer-odd/x:/x" {
				t.Errorf("%s: a volume is at %q", name, at)
			}
			if strings.HasPrefix(line, "ExecStart=") && strings.Contains(strings.ReplaceAll(line, "%%", ""), "%") {
				t.Errorf("%s: systemd would replace a part of %q", name, line)
			}
		}
	}
}
