package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// TestDockerfileOfOthers: in a build context that is a stranger's, what the build
// reads itself is a regular file of it. Pipes are not waited for, and no other file
// is shown.
func TestDockerfileOfOthers(t *testing.T) {
	b := newBench(t)
	b.write("secret", "root:secret:1\n")
	at := func(name string) string { return filepath.Join(b.dir, name) }
	fifo := func(name string) error { return unix.Mkfifo(at(name), 0o600) }
	for name, c := range map[string]struct {
		make  func(dir string) error
		words []string
	}{
		"Dockerfile/pipe":     {func(d string) error { return fifo(d + "/Dockerfile") }, []string{"not a regular file"}},
		"Dockerfile/link":     {func(d string) error { return os.Symlink("../secret", at(d+"/Dockerfile")) }, []string{"escapes", "--file -"}},
		"Dockerfile/absolute": {func(d string) error { return os.Symlink(at("secret"), at(d+"/Dockerfile")) }, []string{"escapes"}},
		"ignore/pipe":         {func(d string) error { return fifo(d + "/.dockerignore") }, []string{".dockerignore", "not a regular file"}},
		"ignore/link":         {func(d string) error { return os.Symlink("../secret", at(d+"/.dockerignore")) }, []string{".dockerignore", "link"}},
		"ignore/directory":    {func(d string) error { return os.Mkdir(at(d+"/.dockerignore"), 0o700) }, []string{".dockerignore", "not a regular file"}},
		"own ignore/pipe":     {func(d string) error { return fifo(d + "/Dockerfile.dockerignore") }, []string{"not a regular file"}},
		"own ignore/link":     {func(d string) error { return os.Symlink("../secret", at(d+"/Dockerfile.dockerignore")) }, []string{"escapes"}},
		"ignore/many": {func(d string) error {
			return os.WriteFile(at(d+"/.dockerignore"), []byte(strings.Repeat("[a-z]*\n", 500_000)), 0o600)
		}, []string{"500000 patterns"}},
		"expanding": {func(d string) error {
			return os.WriteFile(at(d+"/Dockerfile"), []byte("FROM scratch\nENV A=a\n"+strings.Repeat("ENV A=$A$A\n", 40)), 0o600)
		}, []string{"Dockerfile", "limit"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			dir := strings.NewReplacer("/", "-", " ", "-").Replace(name)
			b.write(dir+"/f", "f\n")
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(at(dir + "/Dockerfile")); err != nil {
				b.write(dir+"/Dockerfile", "FROM scratch\nCOPY f /f\n")
			}
			o := b.try("build", dir, "-t", "x:1")
			for _, word := range c.words {
				if o.code != 1 || !strings.Contains(o.stderr, word) {
					t.Errorf("exit code %d, want 1; want %q in %s", o.code, word, o.stderr)
				}
			}
			if strings.Contains(o.out+o.stderr, "secret:1") {
				t.Errorf("another file is shown: %s", o.stderr)
			}
		})
	}
}

// TestDockerfileLinks: links within the context are followed, and of a file that the
// user names a pipe is read.
func TestDockerfileLinks(t *testing.T) {
	b := newBench(t)
	b.write("c/docker/Dockerfile", "FROM scratch\nCOPY . /c\n")
	b.write("c/f", "f\n")
	b.write("c/ignored", "docker\n")
	for link, to := range map[string]string{"Dockerfile": "docker/Dockerfile", ".dockerignore": "ignored"} {
		if err := os.Symlink(to, filepath.Join(b.dir, "c", link)); err != nil {
			t.Fatal(err)
		}
	}
	b.ok("build", "c", "-t", "x:1")
	name := filepath.Join(b.dir, "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(name, []byte("FROM scratch\nCOPY f /f\n"), 0o600) }()
	b.ok("build", "c", "-f", "pipe", "-t", "x:2")
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Nobody writes: a signal ends it.
	cmd := b.command("build", "c", "-f", "pipe", "-t", "x:3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	// It may come before the program asked for it, and then ends it, too.
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 143 && err.Error() != "signal: terminated" {
		t.Errorf("ended with %v", err)
	}
}

// breaks runs a build whose Dockerfile asks for what is not there.
func (b *bench) breaks(args ...string) {
	b.t.Helper()
	if o := b.try(args...); o.code != 1 || !strings.Contains(o.stderr, "nothing") || o.out != "" {
		b.t.Errorf("%q: exit code %d, %s", args, o.code, o.stderr)
	}
}

// TestDockerfileOutput: a file that is there stays as it is when the build fails, and
// a device is written to, not replaced.
func TestDockerfileOutput(t *testing.T) {
	b := newBench(t)
	b.write("c/Dockerfile", "FROM scratch\nCOPY f /f\n")
	b.write("c/bad", "FROM scratch\nCOPY nothing /f\n")
	b.write("c/f", "f\n")
	for _, kind := range []string{"tar", "oci"} {
		b.write("out", "before\n")
		out := "type=" + kind + ",dest=out"
		b.breaks("build", "c", "-f", "c/bad", "-o", out)
		if data, err := os.ReadFile(filepath.Join(b.dir, "out")); err != nil || string(data) != "before\n" {
			t.Errorf("%s: after an error: %q, %v", kind, data, err)
		}
		b.ok("build", "c", "-o", out)
		if data, err := os.ReadFile(filepath.Join(b.dir, "out")); err != nil || len(data) < 1024 {
			t.Errorf("%s: %d bytes, %v", kind, len(data), err)
		}
		link := filepath.Join(b.dir, kind)
		if err := os.Symlink("/dev/null", link); err != nil {
			t.Fatal(err)
		}
		b.breaks("build", "c", "-f", "c/bad", "-o", "type="+kind+",dest="+kind)
		b.ok("build", "c", "-o", "type="+kind+",dest="+kind)
		if to, err := os.Readlink(link); err != nil || to != "/dev/null" {
			t.Errorf("%s: the link is %q, %v", kind, to, err)
		}
	}
	// What is said of an image is written where there is one, and refused where there is none.
	b.ok("build", "c", "-o", "type=oci,dest=out", "--iidfile", "iid")
	if data, err := os.ReadFile(filepath.Join(b.dir, "iid")); err != nil || !strings.HasPrefix(string(data), "sha256:") {
		t.Errorf("iidfile: %q, %v", data, err)
	}
	b.fails(2, []string{"--iidfile", "makes none"}, "build", "c", "-o", "type=tar,dest=out", "--iidfile", "iid")
	b.fails(2, []string{"standard output"}, "build", "c", "-o", "type=oci,dest=-", "--format", "json")
}

// TestDockerfileToRegistry: docker buildx's words for an image in the engine and in a
// registry.
func TestDockerfileToRegistry(t *testing.T) {
	b := newBench(t)
	name := harness.NewRegistry(t).Addr() + "/out:1"
	b.write("c/Dockerfile", "FROM scratch\nCOPY f /f\n")
	b.write("c/f", "f\n")
	b.ok("build", "c", "-o", "type=registry,name="+name, "--plain-http")
	b.ok("rmi", name)
	b.ok("pull", "--plain-http", name)
	b.ok("build", "c", "--load", "-t", "x:1", "-o", "type=image,name=x:2")
	if one, two := digestOf(t, b, "docker.io/library/x:1"), digestOf(t, b, "docker.io/library/x:2"); one != two {
		t.Errorf("one name has %s, and the other %s", one, two)
	}
	b.fails(2, []string{`"dest" is not supported`, "type and name and push"}, "build", "c", "-o", "type=image,dest=x")
	b.fails(2, []string{"--load", "type=tar"}, "build", "c", "--load", "-o", "type=tar,dest=out")
	b.fails(2, []string{"--tag"}, "build", "c", "-o", "type=registry")
}

// TestDockerfileRawJSON: standard error is JSON alone, with a status of BuildKit's for
// each step, and elsewhere there is no such progress.
func TestDockerfileRawJSON(t *testing.T) {
	b := newBench(t)
	b.write("c/Dockerfile", "FROM scratch\nCOPY f /f\n")
	b.write("c/f", "f\n")
	raw := func(args ...string) []string { return append([]string{"--progress", "rawjson"}, args...) }
	o := b.try(raw("build", "c", "-t", "x:1")...)
	done := map[string]bool{}
	for line := range strings.Lines(o.stderr) {
		var status struct {
			Vertexes []struct{ Name, Completed string }
		}
		if err := json.Unmarshal([]byte(line), &status); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		for _, v := range status.Vertexes {
			done[v.Name] = v.Completed != ""
		}
	}
	if o.code != 0 || !done["[1/1] COPY f /f"] {
		t.Errorf("exit code %d, done %v: %s", o.code, done, o.stderr)
	}
	for _, args := range [][]string{{"build", "--from", "x:1", "--copy", "c/f:/g", "-t", "x:2"}, {"images"}} {
		if o := b.try(raw(args...)...); o.code != 2 || !strings.HasPrefix(o.stderr, `{"error"`) || !strings.Contains(o.stderr, "--progress json") {
			t.Errorf("%q: exit code %d, %s", args, o.code, o.stderr)
		}
	}
}
