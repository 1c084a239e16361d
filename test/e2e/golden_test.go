package e2e

import (
	"archive/tar"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// update writes the table anew: `go test ./test/e2e -run TestGoldenDigests -update`. What changes in it is told in the
// changelog.
var update = flag.Bool("update", false, "write the golden digests anew, as root's embedded engine has them")

const goldenFile = "testdata/digests.golden"

// goldenTime is the time of all sources: before the tests' epoch, and no whole second.
var goldenTime = time.Unix(1_700_000_000, 123_456_789)

// goldenSteps are command lines, each by the name of what it makes. Every verb that makes an image or an archive of
// fixed inputs is here. Paths are those of goldenInputs.
var goldenSteps = []struct{ name, line string }{
	// The layers of the first are all that others build on: of no other program's making.
	{"base", "build --from scratch --copy type=tar,src=base.tar,dest=/ -c ENV|A=1 -c CMD|[\"/bin/app\"] -t base:1"},
	{"copy a directory", "build --from base:1 --copy src/:/srv/app/ -t copy:1"},
	{"copy a directory, owner", "build --from base:1 --copy type=dir,src=src,dest=/srv/app,chown=1000:1001,chmod=0640 -t copy:2"},
	{"copy a file", "build --from base:1 --copy src/one:/srv/app/one -t copy:3"},
	{"copy a tar", "build --from base:1 --copy type=tar,src=files.tar,dest=/srv/app -t copy:4"},
	{"copy from an image", "build --from base:1 --copy type=image,ref=copy:4,src=/srv/app,dest=/etc -t copy:5"},
	{"sync a directory", "build --from base:1 --sync src:/srv/app -t sync:1"},
	{"sync a tar", "build --from base:1 --sync type=tar,src=files.tar,dest=/srv/app -t sync:2"},
	{"delete", "build --from base:1 --delete /etc/conf --delete /srv/app/sub -t delete:1"},
	{"all at once", "build --from base:1 --copy src/one:/etc/conf/ --sync src:/srv/app --delete /etc/hosts -t all:1"},
	{"config alone", "build --from base:1 -c ENV|B=2|C=3 -c LABEL|x=1|y=2 -c WORKDIR|/srv -c USER|7:8 -c EXPOSE|80 -c VOLUME|/data " +
		"-c ENTRYPOINT|[\"/bin/e\"] -c STOPSIGNAL|9 --unset env=A --annotation b=2 --annotation a=1 --author me -m why -t config:1"},
	{"config and files", "build --from base:1 --copy src/:/srv/app/ -c ENV|B=2 -t config:2"},
	{"gzip 1", "build --from base:1 --copy src/:/srv/app/ --compression-level 1 -t gzip:1"},
	{"gzip 9", "build --from base:1 --copy src/:/srv/app/ --compression-level 9 -t gzip:9"},
	{"zstd", "build --from base:1 --copy src/:/srv/app/ --compression zstd -t zstd:0"},
	{"zstd 19", "build --from base:1 --copy src/:/srv/app/ --compression zstd --compression-level 19 -t zstd:19"},
	{"uncompressed", "build --from base:1 --copy src/:/srv/app/ --compression none -t none:1"},
	{"unchanged", "build --from copy:1 --copy src/:/srv/app/ -t unchanged:1"},
	{"platforms of scratch", "build --platform linux/amd64,linux/arm64/v8 --from scratch --copy src/:/ -t many:1"},
	{"platforms", "build --platform all --from many:1 --copy src/{{.Arch}}:/arch -c ENV|D=4 -t many:2"},
	{"chain", "build --from all:1 --copy src/sub/two:/etc/ -t chain:1"},
	{"squash", "squash chain:1 -t squash:1"},
	{"squash onto", "squash chain:1 --onto base:1 --compression zstd -t squash:2"},
	{"delta", "delta base:1 chain:1 -t delta:1"},
	{"delta, config kept", "delta --keep-config sync:2 copy:1 -t delta:2"},
	{"tag", "tag delta:1 registry.example.org/team/delta:1"},
	{"save", "save chain:1 copy:1"},
	{"save since", "save chain:1 --since base:1"},
	{"save of platforms", "save many:2"},
	{"save a platform", "save many:2 --platform linux/arm64"},
	{"save a tag", "save registry.example.org/team/delta:1"},
}

// TestGoldenDigests: what each verb makes of fixed inputs has the digest that it had in the last release, on the embedded
// engine for root and for an ordinary user, and on containerd.
func TestGoldenDigests(t *testing.T) {
	harness.RequireRoot(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIP: the platform is in each config, and the table is amd64's")
	}
	dir := harness.UnprivilegedDir(t)
	goldenInputs(t, dir)
	want := readGolden(t)
	if lines := len(goldenSteps) + 1; len(want) != lines && !*update {
		t.Errorf("%s has %d lines, want %d: a step each, and commit", goldenFile, len(want), lines)
	}

	t.Run("embedded", func(t *testing.T) {
		got := golden(t, dir, func(*exec.Cmd) {}, "--engine", "embedded", "--root", filepath.Join(t.TempDir(), "root"))
		if *update {
			for name := range want {
				if _, ok := got[name]; !ok && name != "commit" {
					delete(want, name)
				}
			}
			maps.Copy(want, got)
			writeGolden(t, want)
		}
		wantGolden(t, want, got)
	})
	t.Run("ordinary user", func(t *testing.T) {
		program, err := buildProgram()
		must(t, err)
		copied := filepath.Join(dir, "veneer")
		command(t, "cp", program, copied)
		wantGolden(t, want, golden(t, dir, func(cmd *exec.Cmd) {
			cmd.Path, cmd.Args[0] = copied, copied
			cmd.Env = append(cmd.Env, "HOME=/nonexistent", "TMPDIR="+dir)
			harness.Unprivileged(cmd)
		}, "--engine", "embedded", "--root", filepath.Join(dir, "root")))
	})
	t.Run(string(harness.Containerd2), func(t *testing.T) {
		p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
		at := []string{"--engine", "containerd", "--address", p.daemon.Address(), "--root", filepath.Join(t.TempDir(), "root")}
		got := golden(t, dir, func(*exec.Cmd) {}, at...)
		got["commit"] = goldenCommit(t, p, dir, at)
		if *update {
			want["commit"] = got["commit"]
			writeGolden(t, want)
		}
		wantGolden(t, want, got)
	})
}

// goldenInputs writes the sources. Nothing in them depends on the umask, the user or the time.
func goldenInputs(t *testing.T, dir string) {
	t.Helper()
	src := filepath.Join(dir, "src")
	for name, data := range map[string]string{
		"one": "one\n", "sub/two": strings.Repeat("two\n", 100_000), "sub/deep/empty": "", "amd64": "for amd64\n", "arm64": "for arm64\n",
	} {
		write(t, filepath.Join(src, name), data)
	}
	must(t, os.Symlink("sub/two", filepath.Join(src, "link")), os.Link(filepath.Join(src, "one"), filepath.Join(src, "sub/hard")))
	must(t, filepath.WalkDir(src, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.Chmod(path, 0o755)
		case entry.Type().IsRegular():
			return os.Chmod(path, 0o644)
		}
		return nil
	}))
	must(t, os.Chmod(filepath.Join(src, "sub/two"), 0o755))
	command(t, "find", src, "-depth", "-exec", "touch", "-h", "-d", "@1700000000.123456789", "{}", "+")
	must(t, os.Chmod(dir, 0o755))

	file := func(name, data string, mode int64) (*tar.Header, string) {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: 3, Gid: 4, Size: int64(len(data))}, data
	}
	entry := func(kind byte, name, link string, mode int64) (*tar.Header, string) {
		return &tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: mode}, ""
	}
	goldenTar(t, filepath.Join(dir, "base.tar"), func(add func(*tar.Header, string)) {
		for _, name := range []string{"bin", "etc", "etc/conf", "srv", "srv/app", "srv/app/sub"} {
			add(entry(tar.TypeDir, name+"/", "", 0o755))
		}
		add(file("bin/app", "#!/bin/sh\n", 0o4755))
		add(entry(tar.TypeSymlink, "bin/sh", "app", 0o777))
		add(file("etc/hosts", "127.0.0.1 localhost\n", 0o644))
		add(file("etc/conf/a", "a\n", 0o600))
		add(file("srv/app/old", strings.Repeat("old\n", 1000), 0o644))
		add(entry(tar.TypeLink, "srv/app/same", "srv/app/old", 0o644))
		add(file("srv/app/sub/gone", "gone\n", 0o644))
		add(entry(tar.TypeFifo, "srv/app/fifo", "", 0o600))
	})
	goldenTar(t, filepath.Join(dir, "files.tar"), func(add func(*tar.Header, string)) {
		add(entry(tar.TypeDir, "sub/", "", 0o750))
		add(file("sub/new", "new\n", 0o640))
		add(file("old", strings.Repeat("old\n", 1000), 0o644))
		add(file("number", strings.Repeat("0123456789", 5000), 0o444))
		add(entry(tar.TypeLink, "other", "number", 0o444))
		add(entry(tar.TypeSymlink, "link", "../elsewhere", 0o777))
	})
}

// goldenTar writes an archive.
func goldenTar(t *testing.T, path string, fill func(add func(*tar.Header, string))) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	fill(func(h *tar.Header, data string) {
		h.ModTime, h.Format = goldenTime, tar.FormatPAX
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, data)
		must(t, err)
	})
	must(t, w.Close(), f.Close(), os.Chmod(path, 0o644))
}

// golden takes all steps at one place, and returns the digests of images and archives.
func golden(t *testing.T, dir string, as func(*exec.Cmd), at ...string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, step := range goldenSteps {
		args := strings.Fields(step.line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "|", " ")
		}
		verb := args[0]
		if verb != "save" && verb != "tag" {
			args = append(args, "--format", "json")
		}
		cmd := cli(t, append(slices.Concat(at, []string{"--progress", "quiet"}), args...)...)
		cmd.Dir = dir
		as(cmd)
		switch verb {
		case "save":
			got[step.name] = digest.FromString(output(t, cmd)).String()
		case "tag":
			got[step.name] = strings.TrimSpace(output(t, cmd))
		default:
			got[step.name] = result(t, cmd).Digest.String()
		}
	}
	return got
}

// goldenCommit commits a container that was never started, and into whose files a fixed change was written.
func goldenCommit(t *testing.T, p *place, dir string, at []string) string {
	t.Helper()
	_, err := p.daemon.Ctr("containers", "create", "--snapshotter", "overlayfs", "docker.io/library/base:1", "golden")
	must(t, err)
	active, err := snapshot.FindActive(p.ctx, p.engine.Client.SnapshotService("overlayfs"), "golden")
	must(t, err)
	upper := active.Dirs[0]
	write(t, filepath.Join(upper, "written"), "by the container\n")
	must(t, os.Chmod(filepath.Join(upper, "written"), 0o640))
	command(t, "touch", "-h", "-d", "@1700000000.123456789", filepath.Join(upper, "written"))
	cmd := cli(t, append(slices.Clone(at), "--progress", "quiet", "commit", "golden", "commit:1", "--format", "json")...)
	cmd.Dir = dir
	committed := result(t, cmd).Digest.String()
	_, err = p.daemon.Ctr("containers", "delete", "golden")
	must(t, err)
	return committed
}

// readGolden reads the table: a name, a tab and a digest in each line.
func readGolden(t *testing.T) map[string]string {
	t.Helper()
	table := map[string]string{}
	data, err := os.ReadFile(goldenFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		table[name] = value
	}
	return table
}

func writeGolden(t *testing.T, table map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(table)) {
		b.WriteString(name + "\t" + table[name] + "\n")
	}
	must(t, os.WriteFile(goldenFile, []byte(b.String()), 0o644))
}

// wantGolden fails the test for each digest that is not the table's.
func wantGolden(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] != got[name] {
			t.Errorf("%s is %s, in %s %q", name, got[name], goldenFile, want[name])
		}
	}
}
