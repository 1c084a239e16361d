package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestUnknownVerbs: what people type by habit or by a slip ends with what to type.
func TestUnknownVerbs(t *testing.T) {
	isolate(t)
	for _, c := range []struct {
		args string
		want string
	}{
		{"run --rm -it app:2 sh", "veneer makes images; containers are for nerdctl or ctr: nerdctl run --rm -it app:2 sh, or ctr run --rm -t IMAGE ID"},
		{"--root R --namespace k8s.io run -a stdin x", "nerdctl -n k8s.io run -a stdin x, or ctr -n k8s.io run"},
		{"--root run --debug run --root R", "ctr: nerdctl run --root R, or ctr run"},
		{"run --help", "nerdctl run --help"},
		{"ps -a", "nerdctl ps -a, or ctr tasks ls"},
		{"exec web ls", "nerdctl exec web ls, or ctr tasks exec --exec-id 1 -t ID COMMAND"},
		{"start web", "nerdctl start web, or ctr tasks start ID"},
		{"stop web", "nerdctl stop web, or ctr tasks kill --signal SIGTERM ID"},
		{"rm -f web", "nerdctl rm -f web, or ctr containers rm ID; images are removed with veneer rmi"},
		{"logs web", "nerdctl logs web"},
		{"image ls", `there is no command "image ls": write veneer images`},
		{"image ls -q", "write veneer images -q\n"},
		{"image inspect app:2 --format {{.Id}}", "write veneer inspect app:2 --format '{{.Id}}'\n"},
		{"--namespace k8s.io container ls -a", "containers are for nerdctl or ctr: nerdctl -n k8s.io container ls -a\n"},
		{"container commit web x", "write veneer commit web x\n"},
		{"buildx ls", `there is no command "buildx ls"; see veneer --help`},
		{"buildx du", "write veneer system df\n"},
		{"buildx imagetools inspect x", "did you mean veneer inspect?"},
		{"manifest inspect x", "write veneer inspect --manifest x\n"},
		{"system prune -a", "write veneer prune -a\n"},
		{"system info", `there is no command "system info": veneer system df`},
		{"system frob", `there is no command "system frob"; see veneer --help`},
		{"search debian", "veneer asks a registry for no lists"},
		{"checkout app:1", "veneer tag OLD NAME"},
		{"log app:1", "did you mean veneer history?"},
		{"dive app:1", "did you mean veneer explore?"},
		{"app:1", "veneer explore app:1 looks into an image"},
		{"./app", `there is no command "./app"; see veneer --help`},
		{"help frobnicate", `there is no command "frobnicate"; see veneer --help`},
		{"help system frob", `there is no command "system frob"`},
		{"completion sh", "use bash, zsh, fish or powershell"},
		{"images -a", "--address needs a value; -a is --address here: all names are listed without it"},
		{"pull -a debian", "want 1 argument, got 0: veneer pull IMAGE; -a is --address here: use --all-platforms"},
		{"pull -q debian", "unknown flag -q; use --progress quiet; see veneer pull --help"},
		{"images --digests", "unknown flag --digests; the digest is a column"},
		{"images --fromat json", "unknown flag --fromat; there is --format; see"},
		{"images --frobnicate", "unknown flag --frobnicate; see"},
		{"--namspace x images", "unknown flag --namspace; there is --namespace; see"},
		{"build --provenance=false .", "unknown flag --provenance; leave it out"},
		{"build --squash .", "unknown flag --squash; veneer squash"},
		{"prune -f", "unknown flag -f; leave it out: nothing is asked"},
		{"diff app:1..app:2", "veneer diff app:1 app:2\n"},
		{"diff ../app", "veneer diff A B, or of a directory"},
		{"imges --format json", "did you mean veneer images?"},
		{"image rm app:1", "write veneer rmi app:1"},
		{"image pull app:1", "write veneer pull app:1"},
		{"buildx build .", "write veneer build ."},
		{"builder prune", "write veneer prune"},
		{"imges", "did you mean veneer images?"},
		{"biuld .", "did you mean veneer build?"},
		{"inspct", "did you mean veneer inspect?"},
		{"remove app:1", "did you mean veneer rmi?"},
		{"show app:1", "did you mean veneer inspect?"},
		{"frobnicate", `there is no command "frobnicate"; see veneer --help`},
	} {
		code, out, errOut := veneerRun(t.Context(), strings.Fields(c.args)...)
		if code != exitUsage || out != "" || !strings.Contains(errOut, c.want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: %d, %q, %q; want %q", c.args, code, out, errOut, c.want)
		}
	}
	for _, c := range []struct {
		namespace string
		args      []string
		want      string
	}{
		{"k8s.io", []string{"it's", "$x", ""}, `nerdctl -n k8s.io exec 'it'\''s' '$x' '', or ctr -n k8s.io tasks`},
		{"default", []string{"a"}, "nerdctl exec a, or ctr tasks"},
	} {
		if got := elsewhereText("exec", c.namespace, c.args); !strings.Contains(got, c.want) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

// TestHabitsNameWhatThereIs: what is said about words and flags of other programs names commands and flags that there
// are, and no word or flag that there is.
func TestHabitsNameWhatThereIs(t *testing.T) {
	root := newApp(streams{}, func(string) (string, bool) { return "", false }).rootCommand()
	check := func(text string) {
		t.Helper()
		for _, m := range regexp.MustCompile(`(?:^|[ (])veneer ([a-z]+)((?: [a-z-]+)?)`).FindAllStringSubmatch(text, -1) {
			switch m[1] {
			case "asks", "takes", "has", "shows", "inspects", "help":
			default:
				if commandOf(root, m[1]) == nil {
					t.Errorf("there is no veneer %s: %s", m[1], text)
				}
			}
		}
	}
	for verb, text := range notVerbs {
		check(text)
		if cmd := commandOf(root, verb); cmd != nil {
			t.Errorf("%s is a command", verb)
		}
	}
	for name, flags := range notFlags {
		cmd := root
		if name != "" {
			cmd = commandOf(root, name)
		}
		if cmd == nil {
			t.Errorf("there is no command %s", name)
			continue
		}
		for flag, text := range flags {
			check(text)
			if name != "" && (cmd.Flag(flag) != nil || len(flag) == 1 && cmd.Flags().ShorthandLookup(flag) != nil) {
				t.Errorf("veneer %s has the flag %s", name, flag)
			}
			for _, m := range regexp.MustCompile(`use (--[a-z-]+)`).FindAllStringSubmatch(text, -1) {
				if name != "" && cmd.Flag(m[1][2:]) == nil && cmd.InheritedFlags().Lookup(m[1][2:]) == nil {
					t.Errorf("veneer %s has no flag %s: %s", name, m[1], text)
				}
			}
		}
	}
	for name, text := range shortAddress {
		if check(text); commandOf(root, name) == nil {
			t.Errorf("there is no command %s", name)
		}
	}
	for group, commands := range groups {
		for _, line := range commands {
			if cmd := commandOf(root, strings.Fields(line)[0]); cmd == nil || cmd.Hidden {
				t.Errorf("%s: there is no command %s", group, line)
			}
		}
	}
	if got := adviseTransport("docker-archive:/tmp/a b.tar"); got != "write archive:/tmp/a b.tar" {
		t.Error(got)
	}
	if got := adviseTransport("app:1"); got != "" {
		t.Error(got)
	}
}

// TestRemoveForced: with --force a name that is not there is told, and is no error, as with docker.
func TestRemoveForced(t *testing.T) {
	buildApp(t)
	code, _, errOut := veneerRun(t.Context(), "rmi", "no:1", "app:1")
	if code != exitError || !strings.Contains(errOut, "veneer images lists what is here") || strings.Contains(errOut, "veneer pull") {
		t.Errorf("%d, %q", code, errOut)
	}
	code, out, errOut := veneerRun(t.Context(), "rmi", "--force", "no:1", "app:1")
	if code != exitOK || out != "" || strings.Count(errOut, "warning: no image") != 2 {
		t.Errorf("forced: %d, %q, %q", code, out, errOut)
	}
}

// TestHelpIsNarrow: the text of each command fits a terminal of 88 columns; flags have what they need.
func TestHelpIsNarrow(t *testing.T) {
	eachCommand(newApp(streams{}, func(string) (string, bool) { return "", false }).rootCommand(), func(cmd *cobra.Command) {
		if cmd.Parent() != nil && cmd.Parent().Name() == "completion" {
			return // Cobra's own.
		}
		for line := range strings.Lines(cmd.Long) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 88 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
	})
}

// TestOtherWords: each word means a command that there is, and none is a command.
func TestOtherWords(t *testing.T) {
	root := newApp(streams{}, func(string) (string, bool) { return "", false }).rootCommand()
	for name, words := range otherWords {
		if commandOf(root, name) == nil {
			t.Errorf("there is no command %s", name)
		}
		for _, word := range words {
			if commandOf(root, word) != nil {
				t.Errorf("%s is a command", word)
			}
		}
	}
	for verb := range elsewhere {
		if cmd := commandOf(root, verb); cmd == nil || !cmd.Hidden {
			t.Errorf("%s is a command of veneer's own", verb)
		}
	}
}
