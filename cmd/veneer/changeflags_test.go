package main

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/veneer-build/veneer"
)

// TestLiteral: whatever a value has in it, the image has it, and the base's variables
// are not looked at.
func TestLiteral(t *testing.T) {
	isolate(t)
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringMatching(`[ a-zA-Z0-9$"'\\{}#<>=%;&|*~\x60.\t-]{0,12}`)
		key, value := rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_.-]{0,5}`).Draw(r, "key"), text.Draw(r, "value")
		list, err := instructions([]change{{"LABEL", key + "=" + value}, {"ENV", key + "=" + value}}, nil)
		if err != nil {
			r.Fatal(err)
		}
		edit := veneer.ConfigEdit{Changes: list}
		if err := edit.Validate(); err != nil {
			r.Fatalf("%q: %v", list, err)
		}
		out, _, err := edit.Apply([]byte(`{"config":{"Env":["a=1","b=2"]}}`))
		if err != nil {
			r.Fatalf("%q: %v", list, err)
		}
		var doc struct {
			Config struct {
				Env    []string
				Labels map[string]string
			}
		}
		if err := json.Unmarshal(out, &doc); err != nil {
			r.Fatal(err)
		}
		if got, ok := doc.Config.Labels[key]; !ok || got != value {
			r.Fatalf("%q: labels %q", list, doc.Config.Labels)
		}
		if !strings.Contains("\x00"+strings.Join(doc.Config.Env, "\x00")+"\x00", "\x00"+key+"="+value+"\x00") {
			r.Fatalf("%q: environment %q", list, doc.Config.Env)
		}
	})
}

func TestChangesInOrder(t *testing.T) {
	req, err := requestOf(t, nil, "--from", "base", "--env", "A=1", "-c", "ENV B=$A", "--label", "org.example=it's $B", "--env", "A=two words")
	want := []string{"ENV A=1", "ENV B=$A", `LABEL org.example="it's \$B"`, `ENV A="two words"`}
	if err != nil || strings.Join(req.Config.Changes, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, %v", req.Config.Changes, err)
	}
	// As docker has it; a variable that is not there may be a slip.
	env := map[string]string{"A": "a b", "EMPTY": "", "LINES": "a\nb"}
	req, err = requestOf(t, env, "--from", "base", "--env", "A", "--env", "EMPTY", "--label", "org.example")
	want = []string{`ENV A="a b"`, `ENV EMPTY=""`, `LABEL org.example=""`}
	if err != nil || strings.Join(req.Config.Changes, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, %v", req.Config.Changes, err)
	}
	for _, bad := range [][]string{{"--env", "ABSENT"}, {"--env", ""}, {"--env", "LINES"}, {"--label", ""}, {"--label", "=x"}, {"--label", "a=b\nc"}} {
		if _, err := requestOf(t, env, append([]string{"--from", "base"}, bad...)...); exitCode(err) != exitUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
