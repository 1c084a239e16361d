package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
)

// TestReproducible: neither the time zone, the umask, the number of processors nor the place of the source is in the
// image, and times alone are no change.
func TestReproducible(t *testing.T) {
	dir := t.TempDir()
	one, elsewhere := filepath.Join(dir, "one"), filepath.Join(dir, "some where", "else")
	for i := range 200 {
		name := strings.Repeat("d/", i%7) + "file" + strings.Repeat("x", i)
		write(t, filepath.Join(one, name), strings.Repeat(name, 500))
	}
	must(t, os.Chmod(filepath.Join(one, "d"), 0o2775|os.ModeSetgid), os.Symlink("d/d", filepath.Join(one, "link")), os.MkdirAll(filepath.Dir(elsewhere), 0o755))
	command(t, "cp", "-a", one, elsewhere)

	build := func(root, src, umask string, env ...string) *veneer.Result {
		cmd := cli(t, "--engine", "embedded", "--root", filepath.Join(dir, root), "build", "--no-unpack", "--from", "scratch", "--sync", src+":/app",
			"-c", "ENV A=1 B=2", "-c", "LABEL x=1 y=2 z=3", "--annotation", "b=2", "--annotation", "a=1", "-t", "app:1", "--format", "json")
		cmd.Args = append([]string{"sh", "-c", `umask "$0"; exec "$@"`, umask, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.Env = append(cmd.Env, env...)
		return result(t, cmd)
	}
	first := build("a", one, "022", "TZ=UTC", "GOMAXPROCS=1")
	// The epoch is the upper bound of all times, and so these do not show.
	future := time.Now().Add(time.Hour)
	must(t, os.Chtimes(filepath.Join(elsewhere, "link"), future, future), os.Chtimes(filepath.Join(elsewhere, "file"), future, future))
	second := build("b", elsewhere, "077", "TZ=Pacific/Chatham", "GOMAXPROCS=8", "LC_ALL=tr_TR.UTF-8")
	if first.Digest != second.Digest {
		t.Errorf("%s, and then %s", first.Digest, second.Digest)
	}

	past := time.Unix(1_000_000_000, 0)
	must(t, os.Chtimes(filepath.Join(one, "file"), past, past), os.Chtimes(filepath.Join(one, "d/d"), past, past))
	cmd := cli(t, "--engine", "embedded", "--root", filepath.Join(dir, "a"), "build", "--no-unpack", "--from", "app:1", "--sync", one+":/app", "-t", "app:2", "--format", "json")
	if res := result(t, cmd); !res.Unchanged || res.Layer != nil || res.Digest != first.Digest {
		t.Errorf("other times gave %+v", res)
	}
}
