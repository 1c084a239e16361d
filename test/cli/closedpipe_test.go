package cli_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// unread runs the program with a pipe for standard output that nobody reads.
func (b *bench) unread(args ...string) outcome {
	b.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		b.t.Fatal(err)
	}
	defer w.Close()
	var stderr bytes.Buffer
	cmd := b.command(args...)
	cmd.Stdout, cmd.Stderr = w, &stderr
	_ = cmd.Run() // its exit code says how it ended
	return outcome{code: cmd.ProcessState.ExitCode(), stderr: stderr.String()}
}

// Who stops reading, as head(1) does, has what it wanted: every command that
// prints ends with the exit code of SIGPIPE and without a word.
func TestClosedPipe(t *testing.T) {
	b := newBench(t).withBase()
	b.write("app/new", "new")
	b.ok("build", "--from", "base", "--copy", "app/:/app", "-t", "app")
	b.ok("save", "app", "-o", "app.tar")
	b.ok("tag", "app", "gone")
	for _, args := range [][]string{
		{"version"},
		{"--version"},
		{"--help"},
		{"images", "--help"},
		{"completion", "bash"},
		{"images"},
		{"images", "-q"},
		{"images", "--format", "json"},
		{"history", "app"},
		{"inspect", "app"},
		{"inspect", "--config", "app"},
		{"diff", "base", "app"},
		{"diff", "--exit-code", "base", "app"},
		{"diff", "--format", "json", "base", "app"},
		{"diff", "--from", "base", "--copy", "app/:/other"},
		{"verify", "app"},
		{"verify", "--format", "json", "app"},
		{"verify", "--same-rootfs", "base", "app"},
		{"save", "app"},
		{"export", "app"},
		{"load", "app.tar"},
		{"tag", "app", "other"},
		{"rmi", "gone"},
		{"build", "--from", "base", "--copy", "app/:/app", "-t", "built"},
		{"build", "--from", "base", "--copy", "app/:/app", "--format", "json"},
		{"delta", "base", "app", "-t", "delta"},
		{"squash", "app", "--onto", "base", "-t", "squashed"},
		{"prune"},
		{"prune", "--format", "json"},
	} {
		if o := b.unread(quiet(args...)...); o.code != 141 || o.stderr != "" {
			t.Errorf("%q: exit code %d, %q", args, o.code, o.stderr)
		}
	}
	// What was to be done is done.
	names := b.ok("images")
	for name, there := range map[string]bool{"built": true, "other": true, "delta": true, "squashed": true, "gone": false} {
		if strings.Contains(names, "library/"+name+":") != there {
			t.Errorf("%s among the images: %v, want %v: %s", name, !there, there, names)
		}
	}
	b.nothingInUse()
}

// An error is told also where nobody reads standard output.
func TestClosedPipeHidesNoError(t *testing.T) {
	b := newBench(t).withBase()
	for _, args := range [][]string{{"history", "absent"}, {"rmi", "base", "absent"}} {
		if o := b.unread(quiet(args...)...); o.code != 1 || !strings.Contains(o.stderr, `no image "absent"`) {
			t.Errorf("%q: exit code %d, %q", args, o.code, o.stderr)
		}
	}
}

// With --progress json all of standard error is JSON, the error at the end
// included.
func TestErrorsAsJSON(t *testing.T) {
	b := newBench(t).withBase()
	b.write("file", "data")
	for code, lines := range map[int][][]string{
		1: {{"history", "absent"}, {"build", "--from", "base", "--copy", "nowhere:/x", "-t", "x"}, {"load", "absent.tar"}},
		2: {{"images", "--bogus"}, {"build"}, {"images", "-q", "--format", "json"}, {"frobnicate"}},
	} {
		for _, args := range lines {
			for _, with := range [][]string{
				slices.Concat([]string{"--progress", "json"}, args), slices.Concat(args, []string{"--progress=json"}),
			} {
				o := b.try(with...)
				var last struct {
					Error string
					Code  int `json:"exit_code"`
				}
				for line := range strings.Lines(o.stderr) {
					last.Error = ""
					last = decode[struct {
						Error string
						Code  int `json:"exit_code"`
					}](t, line)
				}
				if o.code != code || last.Code != code || last.Error == "" || o.out != "" {
					t.Errorf("%q: exit code %d, want %d: %s", with, o.code, code, o.stderr)
				}
			}
		}
	}
}

// What the command line alone shows to be wrong is said in its own words.
func TestUsageInPlainWords(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--quiet and --format do not go together: choose one", []string{"images", "-q", "--format", "json"}},
		{"--quiet and --format do not go together: choose one", []string{"build", "--from", "scratch", "-q", "--format", "json"}},
		{"--platform and --all-platforms do not go together", []string{"pull", "x", "--platform", "linux/amd64", "--all-platforms"}},
		{"want at most 1 argument, got 2: veneer images [NAME[:TAG]]", []string{"images", "x", "y"}},
		{"want 2 arguments, got 1: veneer tag IMAGE NAME", []string{"tag", "a"}},
		{"want at least 1 argument, got 0: veneer rmi IMAGE...", []string{"rmi"}},
		{"say what to build: a directory with a Dockerfile, as in veneer build ., or --from IMAGE", []string{"build"}},
		{"--from needs a value", []string{"build", "--from"}},
		{"--tag needs a value", []string{"build", "-t"}},
		{`--max-layers "x": want a whole number`, []string{"build", "--from", "scratch", "--max-layers", "x"}},
		{`--compression-level "99999999999999999999": the number is too large`, []string{"build", "--from", "scratch", "--compression-level", "99999999999999999999"}},
		{`--pause "maybe": want true or false`, []string{"diff", "a", "b", "--pause=maybe"}},
		{`--format "xml": use text or json`, []string{"prune", "--format", "xml"}},
		{"unknown flag --bogus", []string{"images", "--bogus"}},
		{"unknown flag -Q", []string{"images", "-Q"}},
	} {
		o := b.try(c.args...)
		b.failed(o, 2, []string{c.want}, c.args...)
		for _, raw := range []string{"strconv", "arg(s)", "in the group", "flag(s)", "invalid argument"} {
			if strings.Contains(o.stderr, raw) {
				t.Errorf("%q: a library's words: %s", c.args, o.stderr)
			}
		}
	}
}
