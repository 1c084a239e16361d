package dockerfile_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
)

// TestSecretsStayNowhere: no file of the engine has a secret in it afterwards, and
// neither has anything that is said, also of a step that fails.
func TestSecretsStayNowhere(t *testing.T) {
	f := embedded(t)
	file, env := rand.Text(), rand.Text()
	f.write("../secret", file)
	plain := func(r *veneer.DockerfileRequest) {
		r.Compression = "none" // so that blobs can be looked through
		r.Process.Secrets = map[string]veneer.Secret{"file": {File: filepath.Join(f.dir, "../secret")}, "env": {Data: []byte(env)}}
	}
	const run = "FROM BASE\nRUN --mount=type=secret,id=file --mount=type=secret,id=env,env=VALUE test -n \"$VALUE\" && wc -c </run/secrets/file >/size"
	res, w := f.build(run+"\n", plain)
	said := w.output.String() + strings.Join(w.ran, "\n") + strings.Join(w.warned, "\n") + fmt.Sprintf("%+v", res)
	_, w, err := f.try(run+" && exit 3\n", plain)
	if err == nil {
		t.Error("the step that fails does not")
	}
	said += fmt.Sprint(err) + w.output.String() + strings.Join(veneer.DockerfileExcerpts(err), "\n")
	for _, secret := range []string{file, env} {
		if strings.Contains(said, secret) {
			t.Errorf("it is said: %s", said)
		}
		for _, dir := range []string{f.Root, "/run"} {
			holds(t, dir, secret)
		}
	}
}

// holds fails the test if a file below the directory has the text in it.
func holds(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(text)) {
			t.Errorf("%s holds it", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSecretDirectory: a secret is a file.
func TestSecretDirectory(t *testing.T) {
	f := embedded(t)
	_, _, err := f.try("FROM BASE\nRUN --mount=type=secret,id=d true\n", func(r *veneer.DockerfileRequest) {
		r.Process.Secrets = map[string]veneer.Secret{"d": {File: f.dir}}
	})
	if err == nil || !strings.Contains(err.Error(), "secret d") || !strings.Contains(err.Error(), "directory") {
		t.Errorf("%v", err)
	}
}

// TestPruneByUse: what was used the longest ago goes first, whatever was made first,
// and what was not used for long goes in any case.
func TestPruneByUse(t *testing.T) {
	f := embedded(t)
	text := func(name string) string {
		return "FROM BASE\nRUN --mount=type=cache,id=" + name + ",target=/c head -c 10000 /dev/zero >/" + name + "; head -c 5000 /dev/zero >/c/x\n"
	}
	for _, name := range []string{"a", "b"} {
		f.build(text(name))
	}
	if _, w := f.build(text("a")); len(w.ran) != 0 && w.ranStep("RUN") {
		t.Fatalf("not cached: %q", w.ran)
	}
	prune := func(keep int64, keepFor time.Duration) veneer.PrunedSteps {
		t.Helper()
		p, err := veneer.PruneSteps(f.ctx, f.Engine, keep, keepFor, false)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// The last used is the step a. Its cache was not used again.
	if p := prune(15000, time.Hour); p.Steps != 1 || p.Mounts != 2 || p.StepBytes != 10000 || p.MountBytes != 10000 {
		t.Errorf("by size: %+v", p)
	}
	if _, w := f.build(text("a")); w.ranStep("RUN") {
		t.Error("the step that was used last is gone")
	}
	if p := prune(1<<30, time.Nanosecond); p.Steps != 1 {
		t.Errorf("by age: %+v", p)
	}
	if _, w := f.build(text("b")); !w.ranStep("RUN") {
		t.Error("the step that was not used is there")
	}
}

// TestStepBytes: they are the files', not the disk's.
func TestStepBytes(t *testing.T) {
	f := embedded(t)
	f.build("FROM BASE\n", func(r *veneer.DockerfileRequest) { r.Tags = []string{"before:1"} })
	res, _ := f.build("FROM BASE\nRUN truncate -s 1M /sparse && printf abc >/small && mkdir /dir\n", func(r *veneer.DockerfileRequest) { r.Onto = "before:1" })
	if got := res.Dockerfile.StepBytes; got != 1<<20+3 {
		t.Errorf("%d bytes, want %d", got, 1<<20+3)
	}
}
