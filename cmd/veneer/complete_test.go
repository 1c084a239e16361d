package main

import (
	"strings"
	"testing"
)

// TestComplete: a shell is offered what is there, and files where files can be.
func TestComplete(t *testing.T) {
	buildApp(t)
	ok(t, "tag", "app:1", "registry.example.org/team/app:2")
	for _, c := range []struct {
		args string
		want string // the words, then cobra's number: 0 files too, 4 no files, 16 directories
	}{
		{"history |", "app:1 registry.example.org/team/app:2 :4"},
		{"history ap|", "app:1 :4"},
		{"history app:1 |", ":4"},
		{"rmi app:1 |", "registry.example.org/team/app:2 :4"},
		{"build --from a|", "app:1 :4"},
		{"build |", ":16"},
		{"squash --onto r|", "registry.example.org/team/app:2 :4"},
		{"save app:1 --since |", "app:1 registry.example.org/team/app:2 :4"},
		{"diff a|", "app:1 :0"},
		{"commit |", ":4"},
		{"load |", ":0"},
		{"import f.tar |", ":4"},
		{"pull --platform linux/arm|", "linux/arm/v6 linux/arm/v7 linux/arm64 :4"},
		{"images --snapshotter n|", "native :4"},
		{"images --format j|", "text json table :4"},
		{"prune |", ":4"},
		{"im|", "images import :4"},
	} {
		before, word := strings.Fields(strings.TrimSuffix(c.args, "|")), ""
		if !strings.HasSuffix(c.args, " |") {
			before, word = before[:len(before)-1], before[len(before)-1]
		}
		out, _ := ok(t, append(append([]string{"__complete"}, before...), word)...)
		var words []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
	// Without an engine there is nothing to offer, and nothing is said.
	t.Setenv("VENEER_ENGINE", "containerd")
	t.Setenv("CONTAINERD_ADDRESS", t.TempDir()+"/no.sock")
	if out, errOut := ok(t, "__complete", "history", ""); out != ":4\n" || strings.Contains(errOut, "no.sock") {
		t.Errorf("no engine: %q, %q", out, errOut)
	}
}
