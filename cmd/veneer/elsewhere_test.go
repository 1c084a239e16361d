package main

import (
	"strings"
	"testing"
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
		{"image ls -q", "write veneer images"},
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
