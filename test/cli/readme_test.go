package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// Every example of the documents runs as it is printed: the blocks tagged "sh"
// of one document, in order, as one script. There is a containerd for them, a
// root of the embedded engine, and a registry that stands for those of the
// examples by way of hosts.toml, with debian:12 in it.
func TestDocuments(t *testing.T) {
	repo, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	documents := []string{filepath.Join(repo, "README.md")}
	for _, pattern := range []string{"docs/*.md", "docs/contributing/*.md", "contrib/*.md"} {
		found, err := filepath.Glob(filepath.Join(repo, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no documents at %s: %v", pattern, err)
		}
		documents = append(documents, found...)
	}
	scripts := map[string]string{}
	for _, path := range documents {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(path, repo+"/")
		if script := examples(t, name, string(data)); script != "" {
			scripts[name] = script
		}
	}
	if scripts["README.md"] == "" {
		t.Error("README.md has no example that is run")
	}
	home := &documentHome{daemon: harness.Start(t, harness.Containerd2)}
	home.fill(t)
	for name, script := range scripts {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) { home.run(t, script) })
	}
}

var fence = regexp.MustCompile("^(```+)([a-z]*)$")

// examples returns a document's blocks that are tagged sh, and complains of
// those whose tag does not say whether they can be run.
func examples(t *testing.T, name, text string) string {
	t.Helper()
	var script strings.Builder
	open, tag := "", ""
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == "" && m != nil:
			open, tag = m[1], m[2]
			if tag == "bash" || tag == "shell" || tag == "console" || tag == "" {
				t.Errorf("%s:%d: tag the block sh, so that it is run, or text", name, i+1)
			}
		case m != nil && line == open:
			open = ""
		case open != "" && tag == "sh":
			script.WriteString(line + "\n")
		}
	}
	if open != "" {
		t.Errorf("%s: a block is not closed", name)
	}
	return script.String()
}

// documentHome is the surroundings that the examples run in.
type documentHome struct {
	daemon    *harness.Daemon
	home, ctr string
}

func (h *documentHome) fill(t *testing.T) {
	t.Helper()
	registry := harness.NewRegistry(t)
	h.home = t.TempDir()
	for _, host := range []string{"docker.io", "registry.example.org"} {
		dir := filepath.Join(h.home, ".config", "containerd", "certs.d", host)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		hosts := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n", registry.URL(), registry.URL())
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	name := registry.Addr() + "/library/debian:12"
	b.ok("load", "-t", name, harness.DebianImage(t))
	b.ok("push", "--plain-http", name)
	repo, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	ctr, err := filepath.Glob(filepath.Join(repo, ".cache", "tools", "containerd-2*", "bin"))
	if err != nil || len(ctr) == 0 {
		t.Fatalf("no ctr: %v", err)
	}
	h.ctr = ctr[0]
}

// run runs a script in a directory and a namespace of its own.
func (h *documentHome) run(t *testing.T, script string) {
	t.Helper()
	namespace := strings.ToLower(regexp.MustCompile(`[^A-Za-z]+`).ReplaceAllString(t.Name(), "-"))
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=" + filepath.Dir(program) + ":" + h.ctr + ":" + os.Getenv("PATH"),
		"HOME=" + h.home, "TMPDIR=" + os.TempDir(),
		"CONTAINERD_ADDRESS=" + h.daemon.Address(), "CONTAINERD_NAMESPACE=" + namespace,
		"VENEER_ROOT=" + filepath.Join(t.TempDir(), "root"),
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
