package cli_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// built is what the tests here read of a build's result.
type built struct {
	Unchanged bool
	Warnings  []string
	Layer     *struct {
		Digest string
		Size   int64
	}
}

// build builds "new" without a snapshot, with a plain tar as layer, and returns the result, nil if it failed, with how
// that went.
func (b *bench) build(args ...string) (*built, outcome) {
	b.t.Helper()
	o := b.try(quiet(slices.Concat([]string{"build", "--no-unpack", "--compression", "none", "-t", "new", "--format", "json"}, args)...)...)
	if o.code != 0 {
		return nil, o
	}
	res := new(built)
	if err := json.Unmarshal([]byte(o.out), res); err != nil {
		b.t.Fatalf("%v: %s", err, o.out)
	}
	return res, o
}

// builds is build that must succeed.
func (b *bench) builds(args ...string) *built {
	b.t.Helper()
	res, o := b.build(args...)
	if res == nil {
		b.t.Fatalf("%q: exit code %d: %s", args, o.code, o.stderr)
	}
	return res
}

// layer reads a layer's tar as anybody's tar reader does.
func (b *bench) layer(res *built, each func(h *tar.Header, r io.Reader)) {
	b.t.Helper()
	var blob string
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == strings.TrimPrefix(res.Layer.Digest, "sha256:") {
			blob = path
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := os.Open(blob)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.t.Fatal(err)
		}
		each(h, r)
	}
}

// fill writes a file in place, over what it has, and gives it the time that it always has.
func fill(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close(), os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)))
}

// TestSourcesThatChange: while files are truncated, rewritten with their size and time kept, replaced, removed or turned
// into something else, each build stores a file as it was at some time, or is an error that names one; none stores a half.
// (TestSourceThatChanges has files that grow.)
func TestSourcesThatChange(t *testing.T) {
	b := newBench(t)
	b.write("base/file", "base")
	b.ok("build", "--from", "scratch", "--copy", "base/:/", "-t", "base")
	const size = 3 << 20
	states := [][]byte{bytes.Repeat([]byte("A"), size), bytes.Repeat([]byte("B"), size)}
	name := func(n string) string { return filepath.Join(b.dir, n) }
	for what, change := range map[string]func(data []byte) error{
		"rewritten": func(data []byte) error { return fill(name("src/file"), data) },
		"truncated": func(data []byte) error {
			return errors.Join(os.Truncate(name("src/file"), 1<<20), os.Truncate(name("src/file"), 0), fill(name("src/file"), data))
		},
		"replaced": func(data []byte) error {
			return errors.Join(fill(name("other"), data), os.Rename(name("other"), name("src/file")))
		},
		"vanishing": func(data []byte) error { return errors.Join(os.Remove(name("src/file")), fill(name("src/file"), data)) },
		"retyped": func(data []byte) error {
			return errors.Join(os.Remove(name("src/file")), os.Mkdir(name("src/file"), 0o755), os.Remove(name("src/file")),
				os.Symlink("/etc/passwd", name("src/file")), os.Remove(name("src/file")), unix.Mkfifo(name("src/file"), 0o644),
				os.Remove(name("src/file")), fill(name("src/file"), data))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := b.in(t)
			b.write("src/beside", "beside")
			if err := fill(name("src/file"), states[0]); err != nil {
				t.Fatal(err)
			}
			stop := repeat(t, func(i int) error { return change(states[i%2]) })
			whole, failed := 0, 0
			for range 8 {
				res, o := b.build("--from", "base", "--sync", "src/:/src")
				if res == nil {
					failed++
					b.failed(o, 1, []string{"file"})
					continue
				}
				whole++
				b.layer(res, func(h *tar.Header, r io.Reader) {
					data, err := io.ReadAll(r)
					if err != nil {
						t.Fatal(err)
					}
					// What is truncated has been empty, and a prefix, at times.
					states := [][]byte{states[0][:min(size, len(data))], states[1][:min(size, len(data))], []byte("beside")}
					if len(data) < size && what == "rewritten" && h.Name == "src/file" || h.Typeflag == tar.TypeReg && !slices.ContainsFunc(states, func(s []byte) bool { return bytes.Equal(s, data) }) {
						t.Errorf("%s holds %d bytes that it never held together", h.Name, len(data))
					}
				})
			}
			stop()
			t.Logf("%d builds, %d errors", whole, failed)
			if what == "rewritten" && failed == 0 {
				t.Error("no build saw the file being rewritten")
			}
			b.nothingInUse()
			if err := os.RemoveAll(name("src")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// repeat does something over and over until it is stopped.
func repeat(t *testing.T, do func(i int) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			err = do(i)
		}
		done <- err
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestEveryByteInNames: names of each byte that a name can have, and of the longest length, are stored as they are.
func TestEveryByteInNames(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		want := map[string]bool{"n/": true}
		for c := 1; c < 256; c++ {
			if name := string([]byte{byte(c)}); c != '/' {
				for _, name := range []string{name + name + name, "-" + name, "x" + name} {
					b.write("src/"+name, "x")
					want["n/"+name] = true
				}
				b.write("src/d"+name+"/f", "x")
				want["n/d"+name+"/"], want["n/d"+name+"/f"] = true, true
			}
		}
		long := strings.Repeat("\xff", 255)
		b.write("src/"+long, "x")
		want["n/"+long] = true
		res := b.builds("--from", "base", "--sync", "src/:/n")
		b.layer(res, func(h *tar.Header, _ io.Reader) {
			if !want[h.Name] {
				t.Errorf("%q is in the layer", h.Name)
			}
			delete(want, h.Name)
		})
		for name := range want {
			t.Errorf("%q is not in the layer", name)
		}
		if out := b.ok("diff", "--from", "new", "--sync", "src/:/n"); !strings.HasPrefix(out, "nothing differs") {
			t.Errorf("the image is another:\n%s", out)
		}
	})
}

// TestSparseSource: the holes of a sparse file take time, but neither memory nor space in the compressed layer.
func TestSparseSource(t *testing.T) {
	b := newBench(t)
	b.write("src/sparse", "begin")
	if err := os.Truncate(filepath.Join(b.dir, "src/sparse"), 128<<20); err != nil {
		t.Fatal(err)
	}
	res := b.buildsWithin(160<<20, "--from", "scratch", "--copy", "src/:/", "-t", "new")
	if res.Layer.Size > 4<<20 {
		t.Errorf("the layer has %d bytes", res.Layer.Size)
	}
}

// buildsWithin runs a build that must succeed, and fails the test if it had more memory in use at a time.
func (b *bench) buildsWithin(limit int64, args ...string) built {
	b.t.Helper()
	cmd := b.command(quiet(append([]string{"build", "--no-unpack", "--format", "json"}, args...)...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	peak, err := harness.RunPeak(cmd)
	if err != nil {
		b.t.Fatalf("%q: %v: %s", cmd.Args, err, stderr.String())
	}
	var res built
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		b.t.Fatalf("%q: %v", cmd.Args, err)
	}
	b.t.Logf("peak of %d MiB", peak>>20)
	if peak > limit {
		b.t.Errorf("it had %d MiB in use, want at most %d", peak>>20, limit>>20)
	}
	return res
}

// TestDeepSource: directories as deep as a path can say are stored; deeper ones, 10,000 levels, are an error that names
// them, and can be excluded.
func TestDeepSource(t *testing.T) {
	b := newBench(t)
	b.deep("src/deep", 10_000)
	b.write("src/file", "x")
	b.deep("fits", 2000)
	b.fails(1, []string{"a/a/a", "longer than"}, quiet("build", "--no-unpack", "--from", "scratch", "--sync", "src/:/src", "-t", "new")...)
	b.builds("--from", "scratch", "--sync", "src=src,dest=/src,exclude=deep")
	if res := b.builds("--from", "scratch", "--sync", "fits/:/f"); res.Layer == nil {
		t.Error("nothing was stored")
	}
	// Not by diff, for which containerd would unpack it: that takes the cube of the depth.
	if res := b.builds("--from", "new", "--sync", "fits/:/f"); !res.Unchanged {
		t.Errorf("the second build is another: %+v", res)
	}
}

// deep makes directories "a" in one another, which no path reaches.
func (b *bench) deep(name string, levels int) {
	b.t.Helper()
	b.write(name+"/beside", "x")
	fd, err := unix.Open(filepath.Join(b.dir, name), unix.O_PATH|unix.O_DIRECTORY, 0)
	for range levels {
		if err != nil {
			break
		}
		if err = unix.Mkdirat(fd, "a", 0o755); err == nil {
			var next int
			next, err = unix.Openat(fd, "a", unix.O_PATH|unix.O_DIRECTORY, 0)
			err = errors.Join(err, unix.Close(fd))
			fd = next
		}
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		b.t.Fatal(err)
	}
}

// TestManyFiles: a directory of many files, in the long form a million, and a file of many names, a hundred thousand.
func TestManyFiles(t *testing.T) {
	b := newBench(t)
	files, names := 100_000, 10_000
	b.write("src/many/0", "x")
	b.write("names/0", "names")
	if os.Getenv("VENEER_SOAK") == "1" {
		harness.RequireRoot(t)
		files, names = 1_000_000, 100_000
		b.sh("mount -t tmpfs -o nr_inodes=0 veneer-test names && echo names >names/0") // ext4 takes 65,000 names of a file
		defer b.sh("umount names")
	}
	for i := 1; i < files; i++ {
		fd, err := unix.Open(filepath.Join(b.dir, "src/many", fmt.Sprint(i)), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i < names; i++ {
		if err := os.Link(filepath.Join(b.dir, "names/0"), filepath.Join(b.dir, "names", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	res := b.buildsWithin(400<<20, "--compression", "none", "--from", "scratch", "--sync", "src/:/s", "--sync", "names/:/s/names", "-t", "new")
	var stored, links int
	b.layer(&res, func(h *tar.Header, _ io.Reader) {
		switch h.Typeflag {
		case tar.TypeReg:
			stored++
		case tar.TypeLink:
			links++
		}
	})
	if stored != files+1 || links != names-1 {
		t.Errorf("the layer has %d files and %d links", stored, links)
	}
	if again := b.builds("--from", "new", "--sync", "src/many/:/s/many", "--sync", "names/:/s/names"); !again.Unchanged {
		t.Errorf("the second build is another: %+v", again)
	}
}

// TestLargestOwners: the largest ids that there are.
func TestLargestOwners(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	for i, id := range []int{1<<21 - 1, 1 << 21, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		name := fmt.Sprintf("src/%d", i)
		b.write(name, "x")
		if err := unix.Lchown(filepath.Join(b.dir, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	res := b.builds("--from", "scratch", "--copy", "src=src,dest=/,owner=source")
	got := map[string][2]int{}
	b.layer(res, func(h *tar.Header, _ io.Reader) { got[h.Name] = [2]int{h.Uid, h.Gid} })
	for i, id := range []int{1<<21 - 1, 1 << 21, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		if o := got[fmt.Sprint(i)]; o != [2]int{id, id} {
			t.Errorf("owner %v, want %d", o, id)
		}
	}
	b.ok("build", "--from", "scratch", "--copy", "src=src,dest=/,owner=source", "-t", "unpacked")
	if out := b.ok("verify", "unpacked"); !strings.Contains(out, "unpacked") {
		t.Error(out)
	}
	b.fails(1, []string{"4294967295"}, quiet("build", "--from", "scratch", "--copy", "src=src,dest=/,chown=4294967295", "-t", "bad")...)
}

// TestSourceFileSystems: sources on file systems without extended attributes, on FUSE, and with few features give the
// layer that they give on this disk.
func TestSourceFileSystems(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("plain/d/file", strings.Repeat("content\n", 10_000))
	b.write("plain/empty", "")
	if err := os.Symlink("d/file", filepath.Join(b.dir, "plain/link")); err != nil {
		t.Fatal(err)
	}
	b.sh(`chmod 4755 plain/d/file && find plain -exec touch -h -d @1000000000 {} +`)
	want := b.builds("--from", "scratch", "--sync", "plain/:/p")
	for kind, mount := range map[string]string{
		"ramfs":  `mount -t ramfs veneer-test m`,
		"tmpfs":  `mount -t tmpfs -o mode=755 veneer-test m`,
		"fuse":   `mkdir lower upper work && fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work m`,
		"ext2":   `truncate -s 16M disk && mkfs.ext2 -q disk && mount -o loop disk m`,
		"vfat":   `truncate -s 16M disk && mkfs.vfat disk >/dev/null && mount -o loop disk m`,
		"noexec": `mount -t tmpfs -o mode=755,noexec,nosuid,nodev veneer-test m`,
	} {
		t.Run(kind, func(t *testing.T) {
			b := b.in(t)
			if kind == "vfat" && harness.KernelKnows(kind) != nil {
				t.Skip("SKIP: this kernel has no vfat")
			}
			b.sh(`rm -rf m lower upper work disk && mkdir m`)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", mount)
			cmd.Dir = b.dir
			if out, err := cmd.CombinedOutput(); err != nil {
				harness.Check(t, fmt.Errorf("%w: no %s can be mounted here: %w: %s", harness.ErrUnavailable, kind, err, out))
			}
			defer b.sh(`umount m`)
			if kind == "vfat" { // has no owners, modes or links
				b.sh(`cp -r plain/d m/`)
				b.builds("--from", "scratch", "--sync", "m/:/p")
				return
			}
			b.sh(`cp -a plain/. m/ && rm -rf m/lost+found && touch -d @1000000000 m`)
			if res := b.builds("--from", "scratch", "--sync", "m/:/p"); res.Layer.Digest != want.Layer.Digest || len(res.Warnings) > 0 {
				t.Errorf("layer %+v, warnings %q; on the disk %+v", res.Layer, res.Warnings, want.Layer)
			}
			if res := b.builds("--from", "new", "--sync", "m/:/p"); !res.Unchanged {
				t.Errorf("the second build is another: %+v", res)
			}
		})
	}
}

// TestWrongLinkCounts: a file system that says of each file that it has one name costs the sharing alone. What is stored
// is right, the base's links are undone, and the next build knows it again.
func TestWrongLinkCounts(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("bindfs", "bindfs"))
	b := newBench(t)
	b.write("src/a", "one file\n")
	b.sh(`ln src/a src/b && mkdir m && bindfs --hide-hard-links src m`)
	defer b.sh(`umount m`)
	entries := func(res *built) string {
		var got []string
		b.layer(res, func(h *tar.Header, r io.Reader) {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			if h.Typeflag != tar.TypeDir {
				got = append(got, fmt.Sprintf("%s %c %s", h.Name, h.Typeflag, data))
			}
		})
		return strings.Join(got, "")
	}
	const want = "s/a 0 one file\ns/b 0 one file\n"
	if got := entries(b.builds("--from", "scratch", "--sync", "m/:/s")); got != want {
		t.Errorf("on nothing %q", got)
	}
	if res := b.builds("--from", "new", "--sync", "m/:/s"); !res.Unchanged {
		t.Errorf("the second build is another: %+v", res)
	}
	linked := b.builds("--from", "scratch", "--sync", "src/:/s", "-t", "linked")
	if got := entries(linked); got != "s/a 0 one file\ns/b 1 " {
		t.Errorf("the links are %q", got)
	}
	if got := entries(b.builds("--from", "linked", "--sync", "m/:/s")); got != "s/b 0 one file\n" {
		t.Errorf("on the links %q", got)
	}
}

// sh runs a script in the working directory.
func (b *bench) sh(script string) {
	b.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(b.t.Context()), "sh", "-c", script)
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Errorf("%s: %v: %s", script, err, out)
	}
}
