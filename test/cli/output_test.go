package cli_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

var digestLine = regexp.MustCompile(`^sha256:[0-9a-f]{64}\n$`)

// decode reads one JSON document.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// The digest is alone on standard output, and the same in each of the files.
func TestBuildOutput(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.write("app/new", "new")
		args := []string{"build", "--from", "base", "--copy", "app/:/app", "-t", "new", "-t", "example.org/other:1"}
		o := b.try(append(args, "-q", "--iidfile", "iid", "--metadata-file", "meta.json")...)
		if o.code != 0 || !digestLine.MatchString(o.out) || o.stderr != "" {
			t.Fatalf("-q: %+v", o)
		}
		digest := strings.TrimSpace(o.out)
		if iid := b.read("iid"); iid != digest {
			t.Errorf("iidfile %q, printed %q", iid, digest)
		}
		meta := decode[map[string]any](t, b.read("meta.json"))
		if meta["containerimage.digest"] != digest || meta["image.name"] != "docker.io/library/new:latest,example.org/other:1" {
			t.Errorf("metadata %v", meta)
		}
		descriptor, ok := meta["containerimage.descriptor"].(map[string]any)
		if !ok || descriptor["digest"] != digest {
			t.Errorf("descriptor %v", meta["containerimage.descriptor"])
		}

		b.write("app/more", "more")
		res := decode[map[string]any](t, b.ok(append(args, "--format", "json")...))
		want := []string{
			"base", "base_digest", "chain_id", "changes", "digest", "layer", "names", "platform", "pushable", "seconds", "steps",
			"target", "unchanged", "unpacked",
		}
		if got := slices.Sorted(maps.Keys(res)); !slices.Equal(got, want) {
			t.Errorf("keys %v, want %v", got, want)
		}
		layer, _ := res["layer"].(map[string]any)
		if got := slices.Sorted(maps.Keys(layer)); !slices.Equal(got, []string{"diff_id", "digest", "media_type", "size", "uncompressed_size"}) {
			t.Errorf("keys of layer %v", got)
		}
		timing := decode[timing](t, b.ok(append(args, "--format", "json")...))
		if got := timing.check(t); !slices.Equal(got, []string{"resolve", "compare", "layer", "snapshot", "record"}) {
			t.Errorf("steps %v", got)
		}
	})
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// The same build twice: the second finds the image as it is, and with
// SOURCE_DATE_EPOCH it is the same one.
func TestTwiceInARow(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.write("app/new", "new")
		b.env = []string{"SOURCE_DATE_EPOCH=1700000000"}
		args := []string{"build", "--from", "base", "--sync", "app/:/app", "-t", "new"}
		first := b.ok(args...)
		files := b.files()
		if second := b.ok(args...); second != first {
			t.Errorf("first %s, then %s", first, second)
		}
		if again := b.files(); !maps.Equal(files, again) {
			t.Errorf("the second build changed the engine: %v, then %v", files, again)
		}
		// On its own result nothing differs, so the name points at that.
		res := decode[struct {
			Unchanged bool
			Digest    string
		}](t, b.ok("build", "--from", "new", "--sync", "app/:/app", "-t", "newer", "--format", "json"))
		if !res.Unchanged || res.Digest != strings.TrimSpace(first) {
			t.Errorf("%+v, want %s unchanged", res, first)
		}
		b.nothingInUse()
	})
}

func TestDiffExitCode(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.write("same/old", "old")
		b.write("other/old", "another")
		b.leavesNothing(func() {
			for _, c := range []struct {
				args []string
				code int
			}{
				{[]string{"--copy", "same/:/app"}, 0},
				{[]string{"--sync", "same/:/app"}, 0},
				{[]string{"--copy", "other/:/app"}, 1},
				{[]string{"--delete", "/app"}, 1},
				{[]string{"--copy", "absent:/app"}, 2},
			} {
				args := append(quiet("diff", "--exit-code", "--from", "base"), c.args...)
				if o := b.try(args...); o.code != c.code || (c.code == 2) != (o.stderr != "") {
					t.Errorf("%q: %+v, want %d", c.args, o, c.code)
				}
			}
		})
		out := b.ok("diff", "--from", "base", "--sync", "other/:/app", "--delete", "/etc")
		for _, line := range []string{"M /app/old  7  content\n", "D /etc  0  removed (1 file, 22 B)\n", "added 0 (0 B), modified 1 (7 B), deleted 1 (1 file, 22 B)\n", "layer: about "} {
			if !strings.Contains(out, line) {
				t.Errorf("no %q in:\n%s", line, out)
			}
		}
		res := decode[struct {
			Changes []struct{ Path, Kind, Reason string }
		}](t, b.ok("diff", "--from", "base", "--sync", "other/:/app", "--format", "json"))
		if len(res.Changes) != 1 || res.Changes[0].Kind != "M" || res.Changes[0].Reason != "content" {
			t.Errorf("%+v", res)
		}
	})
}

// A directory that is deleted is one line, and says how much was in it: through
// each way of reading the base, and between any two trees.
func TestDiffCountsWhatIsDeleted(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		for i := range 30 {
			b.write(fmt.Sprintf("many/lib/%d/file", i), strings.Repeat("x", 100))
		}
		b.write("many/kept", "kept")
		b.ok("build", "--from", "scratch", "--copy", "many/:/", "-t", "many")
		b.write("few/kept", "kept")
		ways := [][]string{
			{"--from", "many", "--delete", "/lib"},
			{"--from", "many", "--reader", "index", "--delete", "/lib"},
			{"--from", "many", "--force-delete", "--sync", "few/:/"},
			{"many", "dir:few"},
		}
		if !b.ordinary() {
			ways = append(ways, []string{"--from", "many", "--reader", "view", "--delete", "/lib"})
		}
		for _, way := range ways {
			args := append(quiet("diff"), way...)
			for _, line := range []string{"(30 files, 3.0 kB)\n", "deleted 1 (30 files, 3.0 kB)\n"} {
				if out := b.ok(args...); !strings.Contains(out, line) {
					t.Errorf("%q: no %q in:\n%s", way, line, out)
				}
			}
			res := decode[struct {
				Removed struct{ Count, Bytes int }
				Changes []struct {
					Path  string
					Files int `json:"removed_files"`
					Bytes int `json:"removed_bytes"`
				}
			}](t, b.ok(append(args, "--format", "json")...))
			if c := res.Changes; len(c) != 1 || c[0].Path != "/lib" || c[0].Files != 30 || c[0].Bytes != 3000 || res.Removed.Count != 30 || res.Removed.Bytes != 3000 {
				t.Errorf("%q: %+v", way, res)
			}
		}
	})
}

// What is made can be looked at, renamed and removed.
func TestLooking(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.write("app/new", "new")
		digest := strings.TrimSpace(b.ok("build", "--from", "base", "--copy", "app/:/app", "-c", "ENV A=b", "-m", "why", "-t", "new"))
		if out := b.ok("images"); !strings.Contains(out, "docker.io/library/new:latest") || !strings.Contains(out, digest[:19]) {
			t.Errorf("images:\n%s", out)
		}
		if out := b.ok("images", "-q"); !strings.Contains(out, digest+"\n") {
			t.Errorf("images -q:\n%s", out)
		}
		out := b.ok("history", "new")
		if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 || !strings.Contains(lines[2], "COPY /app; ENV A=b") || !strings.Contains(lines[2], "why") {
			t.Errorf("history:\n%s", out)
		}
		for _, ref := range []string{"new", digest, digest[7:19]} {
			image := decode[struct {
				Digest string
				Config struct{ Config struct{ Env []string } }
			}](t, b.ok("inspect", ref))
			if image.Digest != digest || !slices.Contains(image.Config.Config.Env, "A=b") {
				t.Errorf("inspect %s: %+v", ref, image)
			}
		}
		b.ok("tag", "new", "renamed:1")
		b.ok("rmi", "new")
		b.fails(1, []string{"new"}, "inspect", "new")
		if out := b.ok("images"); !strings.Contains(out, "renamed:1") || strings.Contains(out, "new:latest") {
			t.Errorf("images after tag and rmi:\n%s", out)
		}
		b.ok("rmi", "renamed:1")
		if left := b.ok("prune", "--format", "json"); decode[struct{ Blobs int }](t, left).Blobs != 0 {
			t.Errorf("rmi left garbage: %s", left)
		}
		for path := range b.files() {
			if strings.HasSuffix(path, strings.TrimPrefix(digest, "sha256:")) {
				t.Errorf("the manifest is still there: %s", path)
			}
		}
	})
}

func TestProgressModes(t *testing.T) {
	b := newBench(t).withBase()
	b.write("app/new", "new")
	args := []string{"build", "--from", "base", "--copy", "app/:/app", "-t", "new"}
	for mode, check := range map[string]func(stderr string) bool{
		"auto":  plainSteps, // standard error is no terminal
		"plain": plainSteps,
		"quiet": func(stderr string) bool { return stderr == "" },
		"json":  jsonSteps,
		"tty":   func(stderr string) bool { return strings.Contains(stderr, "compare") },
	} {
		if o := b.try(append(args, "--progress", mode)...); o.code != 0 || !digestLine.MatchString(o.out) || !check(o.stderr) {
			t.Errorf("--progress %s: %+v", mode, o)
		}
	}
	o := b.try(append(args, "--debug", "--progress", "plain")...)
	if o.code != 0 || !strings.Contains(o.stderr, "level=DEBUG") {
		t.Errorf("--debug: %+v", o)
	}
}

func plainSteps(stderr string) bool {
	for _, step := range []string{"resolve", "compare", "layer", "snapshot", "record"} {
		if !strings.Contains(stderr, step+":") {
			return false
		}
	}
	return !strings.Contains(stderr, "\x1b")
}

func jsonSteps(stderr string) bool {
	var steps []string
	for line := range strings.Lines(stderr) {
		var l struct {
			Step string
			Done bool
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			return false
		}
		if l.Done {
			steps = append(steps, l.Step)
		}
	}
	return slices.Equal(steps, []string{"resolve", "compare", "layer", "snapshot", "record"})
}

// On a terminal the steps are live, in colour unless NO_COLOR is set.
func TestTerminal(t *testing.T) {
	const green = "\x1b[32m"
	b := newBench(t).withBase()
	b.write("app/new", "new")
	args := []string{"build", "--from", "base", "--copy", "app/:/app", "-t", "new"}
	for _, c := range []struct {
		env         []string
		color, live bool
	}{
		{[]string{"TERM=xterm"}, true, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, false, true},
		{[]string{"TERM=dumb"}, false, false},
	} {
		b.env = c.env
		out := b.onTerminal(args...)
		if color, live := strings.Contains(out, green), strings.Contains(out, "✓"); color != c.color || live != c.live {
			t.Errorf("%v: colour %v, live %v: %q", c.env, color, live, out)
		}
	}
}

// onTerminal runs the program with a pseudo-terminal as standard error and
// returns what was shown there.
func (b *bench) onTerminal(args ...string) string {
	b.t.Helper()
	terminal, shown := openTerminal(b.t)
	cmd := b.command(args...)
	cmd.Stderr = terminal
	out, err := cmd.Output()
	if err != nil || !digestLine.MatchString(string(out)) {
		b.t.Errorf("%v: %q", err, out)
	}
	return shown()
}

// openTerminal opens a pseudo-terminal of 24 lines and 100 columns. shown closes it,
// and returns what was shown there.
func openTerminal(t *testing.T) (terminal *os.File, shown func() string) {
	t.Helper()
	x := harness.OpenTerminal(t, 100, 24)
	return x.File, x.Close
}
