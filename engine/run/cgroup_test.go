package run

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestOOM reads what the kernel writes: the files of both versions of cgroups, as
// they are in its documentation (cgroup-v2.rst, cgroup-v1/memory.rst).
func TestOOM(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       bool
	}{
		"v2 killed":      {"x/memory.events", "low 0\nhigh 0\nmax 41\noom 2\noom_kill 1\noom_group_kill 0\n", true},
		"v2 short":       {"x/memory.events", "low 0\nhigh 0\nmax 41\noom 2\noom_kill 0\noom_group_kill 1\n", false},
		"v1 killed":      {"memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 12\n", true},
		"v1 short":       {"memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 0\n", false},
		"v1 old kernel":  {"memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", false},
		"empty":          {"x/memory.events", "", false},
		"no controller":  {"x/cgroup.procs", "", false},
		"another cgroup": {"y/memory.events", "oom_kill 1\n", false},
	} {
		root := t.TempDir()
		path := filepath.Join(root, c.file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(c.text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if got := oomKilledIn(root, "/x"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestRemoveCgroups: what is empty goes in each hierarchy, what is not there is no
// error, and one that is in use is.
func TestRemoveCgroups(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"id", "memory/id", "pids/id", "pids/other"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(removeCgroups(root, "id"), removeCgroups(root, "id")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(root, "*/id")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(root, "pids/other")); err != nil {
		t.Error(err)
	}
	if err := removeCgroups(root, "pids"); err == nil {
		t.Error("one that has another in it is removed without an error")
	}
}

// TestMayMakeCgroups: of v1 the hierarchy counts that runc cannot do without.
func TestMayMakeCgroups(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(v1, "devices"), 0o755), os.WriteFile(filepath.Join(v2, "cgroup.controllers"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{v1, v2} {
		if err := mayMakeCgroups(dir); err != nil {
			t.Error(err)
		}
	}
	var missing *MissingError
	if err := mayMakeCgroups(filepath.Join(v1, "absent")); !errors.As(err, &missing) {
		t.Errorf("without any: %v", err)
	}
}
