package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestWantsNamespace: which commands of an ordinary user are run in a user namespace.
func TestWantsNamespace(t *testing.T) {
	used, fresh := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "in-user-namespace"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root         string
		args         []string
		wanted, must bool
	}{
		{fresh, []string{"build", "."}, true, true},
		{fresh, []string{"build", "-t", "app:1", "--build-arg", "A=1", "-"}, true, true},
		{fresh, []string{"--root", fresh, "build", "."}, true, true},
		{fresh, []string{"build", "--check", "."}, false, false},
		{fresh, []string{"build", "--help", "."}, false, false},
		{fresh, []string{"build"}, false, false},
		{fresh, []string{"build", "--no-such-flag", "."}, false, false},
		{fresh, []string{"build", "--from", "base", "--copy", "a:/a"}, false, false},
		{fresh, []string{"--engine", "containerd", "build", "."}, false, false},
		{fresh, []string{"prune"}, false, false},
		{used, []string{"prune"}, true, false},
		{used, []string{"rmi", "app:1"}, true, false},
		{used, []string{"build", "--from", "base", "--copy", "a:/a"}, true, false},
		{used, []string{"--root", fresh, "rmi", "app:1"}, false, false},
		{used, []string{"images"}, false, false},
		{used, []string{"version"}, false, false},
		{used, []string{"no-such-command"}, false, false},
	} {
		env := map[string]string{"VENEER_ROOT": c.root, "VENEER_ENGINE": "embedded"}
		n := wantsNamespace(c.args, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		if n.wanted != c.wanted || c.wanted && n.must != c.must {
			t.Errorf("%q: %+v, want %t, must be %t", c.args, n, c.wanted, c.must)
		}
	}
	// What is named is looked for in a daemon.
	n := wantsNamespace([]string{"build", "."}, func(name string) (string, bool) {
		return map[string]string{"VENEER_ROOT": fresh, "CONTAINERD_ADDRESS": "/nonexistent"}[name], true
	})
	if n.wanted {
		t.Errorf("with an address: %+v", n)
	}
}
