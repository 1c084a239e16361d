package buildkit_test

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/veneer-build/veneer/test/harness"
)

// sampled is how many cases there are to one that is run without VENEER_SOAK.
const sampled = 10

// patience bounds the whole run: more than ten times what it takes alone.
const patience = 2 * time.Hour

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

//go:embed listed.txt
var listedText string

//go:embed testdata/worker_test.go
var workerText []byte

var (
	listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	caseFunc  = regexp.MustCompile(`(?ms)^func (test\w+)\(t \*testing\.T, sb integration\.Sandbox\).*?^}`)
	ending    = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): TestIntegration/([^/]+)/worker=veneer(?:-containerd)?/frontend=[a-z]+(\S*) \(`)
)

// listed are the cases that do not pass, by name, with the reason.
func listed(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(listedText) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if all[name] != "" || strings.TrimSpace(reason) == "" {
			t.Fatalf("listed.txt: %s is there twice, or without a reason", name)
		}
		all[name] = strings.TrimSpace(reason)
	}
	return all
}

// mostListed is how many cases may be listed: the list can only become shorter.
const mostListed = 54

// TestListed holds the list to what it is for: decisions, each said in a sentence.
func TestListed(t *testing.T) {
	all := listed(t)
	if len(all) > mostListed {
		t.Errorf("%d cases are listed, and there were %d", len(all), mostListed)
	}
	for name, reason := range all {
		if !strings.HasSuffix(reason, ".") || strings.Contains(reason, "not yet") {
			t.Errorf("%s: %q is no decision in a sentence", name, reason)
		}
	}
}

// TestDockerfiles runs BuildKit's tests of Dockerfiles.
func TestDockerfiles(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	harness.Check(t, harness.Installed("busybox", "busybox-static"))
	harness.Check(t, harness.Installed("git", "git"))
	harness.Check(t, harness.Installed(filepath.Join(plugins, "ptp"), "containernetworking-plugins"))
	registry, err := harness.RegistryProgram()
	harness.Check(t, err)
	containerd, err := harness.ContainerdProgram()
	harness.Check(t, err)
	s := prepare(t)
	mirror := filepath.Join(s.temp, "mirror")
	if err := os.Mkdir(mirror, 0o755); err != nil {
		t.Fatal(err)
	}
	serveMirror(t, registry, mirror)
	env := []string{
		"PATH=" + s.bin + ":" + filepath.Dir(registry) + ":" + os.Getenv("PATH"),
		"BUILDKIT_REGISTRY_MIRROR_DIR=" + mirror,
		"BUILDKIT_RUN_NETWORK_INTEGRATION_TESTS=1",
		"VENEER_BUILDKITD=" + filepath.Join(s.bin, "server"),
		"VENEER_CONTAINERD=" + containerd,
		"VENEER_CNI=" + configureCNI(t, s.temp),
		"OTEL_TRACES_EXPORTER=none",
		"TMPDIR=" + s.temp,
	}
	known, results, all := listed(t), map[string]string{}, map[string]bool{}
	for how, names := range s.cases(t) {
		for _, n := range names {
			all[n] = true
		}
		maps.Copy(results, s.run(t, how, choose(t, names), env))
	}
	for name := range known {
		if top, _, _ := strings.Cut(name, "/"); !all[top] {
			t.Errorf("BuildKit has no case %s: take it from listed.txt", name)
		}
	}
	judge(t, known, results)
}

// plugins is where Debian has those of CNI.
const plugins = "/usr/lib/cni"

// configureCNI gives the processes of all servers networks of their own, as BuildKit's
// default is.
func configureCNI(t *testing.T, temp string) (dir string) {
	t.Helper()
	dir = filepath.Join(temp, "cni")
	list := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "veneer-bk", "plugins": [{"type": "ptp", "ipam":
		{"type": "host-local", "subnet": "10.253.96.0/20", "dataDir": %q, "routes": [{"dst": "10.253.88.0/24"}]}}]}`, filepath.Join(temp, "addresses"))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "10-test.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// choose returns the cases that are run.
func choose(t *testing.T, names []string) []string {
	t.Helper()
	switch only := os.Getenv("VENEER_BUILDKIT_RUN"); {
	case only != "":
		match, err := regexp.Compile(only)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(names, func(n string) bool { return !match.MatchString(n) })
	case os.Getenv("VENEER_SOAK") == "":
		return slices.DeleteFunc(names, func(n string) bool { return !inSample(n) })
	}
	return names
}

// inSample reports whether a case is run each time.
func inSample(name string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // Never fails.
	return h.Sum32()%sampled == 0
}

// suite is BuildKit's tests, built.
type suite struct {
	source string // of BuildKit
	bin    string // has the tests, buildctl and the server
	temp   string
}

// prepare copies and builds what is run.
func prepare(t *testing.T) *suite {
	t.Helper()
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	out := command(t, root, "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/moby/buildkit")
	version, module, _ := strings.Cut(strings.TrimSpace(out), " ")
	if module == "" {
		command(t, root, "go", "mod", "download", "github.com/moby/buildkit")
		out = command(t, root, "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/moby/buildkit")
		version, module, _ = strings.Cut(strings.TrimSpace(out), " ")
	}
	home := filepath.Join(root, ".cache", "buildkit-tests", version)
	s := &suite{source: filepath.Join(home, "source"), bin: filepath.Join(t.TempDir(), "bin")}
	// The names of sockets have an end, which a test's own directory goes beyond.
	if s.temp, err = os.MkdirTemp("", "bk"); err != nil { //nolint:usetesting // see above
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(s.temp); err != nil {
			t.Error(err)
		}
	})
	if err := copyModule(home, module); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.source, "frontend/dockerfile/veneer_test.go"), workerText, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, s.source, "go", "test", "-c", "-vet=off", "-o", filepath.Join(s.bin, "tests"), "./frontend/dockerfile")
	command(t, s.source, "go", "build", "-o", filepath.Join(s.bin, "buildctl"), "./cmd/buildctl")
	command(t, root, "go", "build", "-o", filepath.Join(s.bin, "server"), "./test/buildkit/server")
	return s
}

// copyModule copies BuildKit's module, unless an earlier run did.
func copyModule(home, module string) error {
	source := filepath.Join(home, "source")
	if _, err := os.Stat(source); err == nil {
		return nil
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(home, "part-")
	if err != nil {
		return err
	}
	err = filepath.WalkDir(module, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(module, p)
		if err != nil {
			return err
		}
		to := filepath.Join(part, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		return fmt.Errorf("copy BuildKit's tests: %w", err)
	}
	// Another run may have been first.
	if err := os.Rename(part, source); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// command runs a program and returns what it writes.
func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// way is how cases are run.
type way struct {
	worker string
	// frontend is the variable that says where the frontend is run.
	frontend string
}

// cases are the names of BuildKit's cases, by the way in which they are run: those that
// look into a containerd need one, and some are about a frontend that the client runs.
func (s *suite) cases(t *testing.T) map[way][]string {
	t.Helper()
	all, n := map[way][]string{}, 0
	files, err := filepath.Glob(filepath.Join(s.source, "frontend/dockerfile/*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range caseFunc.FindAllSubmatch(text, -1) {
			name := []rune(string(m[1]))
			name[0] = unicode.ToUpper(name[0])
			how := way{worker: "veneer", frontend: "FRONTEND_BUILTIN_ONLY"}
			if bytes.Contains(m[0], []byte("ContainerdAddress()")) {
				how.worker = "veneer-containerd"
			}
			if bytes.Contains(m[0], []byte("f.(*clientFrontend)")) {
				how.frontend = "FRONTEND_CLIENT_ONLY"
			}
			all[how] = append(all[how], string(name))
			n++
		}
	}
	if n < 200 {
		t.Fatalf("%d cases of BuildKit's, and there should be more than 200", n)
	}
	return all
}

// notRun is the result of a case that BuildKit's tests do not call.
const notRun = "NOT RUN"

// run runs the cases, and returns what becomes of each: PASS, FAIL or SKIP, by its name
// and what it was run with.
func (s *suite) run(t *testing.T, how way, names, env []string) map[string]string {
	t.Helper()
	results := map[string]string{}
	if len(names) == 0 {
		return results
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "tests"), "-test.v", "-test.timeout="+patience.String(),
		"-test.run=^TestIntegration$/^("+strings.Join(names, "|")+")$/^worker="+how.worker+"$")
	cmd.Dir = filepath.Join(s.source, "frontend/dockerfile")
	cmd.Env = append(append(os.Environ(), env...), how.frontend+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var out bytes.Buffer
	var w io.Writer = &out
	if log := os.Getenv("VENEER_BUILDKIT_LOG"); log != "" {
		f, err := os.Create(log + "." + how.worker + "." + how.frontend)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w = io.MultiWriter(&out, f)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err := cmd.Run() // A case that fails makes it one.
	for _, name := range names {
		results[name] = notRun
	}
	for line := range strings.Lines(out.String()) {
		if m := ending.FindStringSubmatch(line); m != nil {
			if results[m[2]] == notRun {
				delete(results, m[2])
			}
			results[m[2]+m[3]] = m[1]
		}
	}
	if len(results) == 0 {
		t.Fatalf("no case was run: %v", err)
	}
	return results
}

// judge holds what became of the cases against the list.
func judge(t *testing.T, known, results map[string]string) {
	t.Helper()
	whole := map[string]string{}
	for name, result := range results {
		top, rest, parts := strings.Cut(name, "/")
		if parts && !strings.HasPrefix(rest, "network.") && !strings.HasPrefix(rest, "security.") && !strings.HasPrefix(rest, "env=") {
			continue // A part of a case, which counts as a whole.
		}
		if whole[top] == "" || result != "PASS" {
			whole[top] = result
		}
		isListed := known[name] != "" || known[top] != ""
		switch {
		case strings.HasPrefix(known[top]+known[name], "host: "):
			// It passes on some machines.
		case result == "PASS" && isListed:
			t.Errorf("%s passes: take it from listed.txt", name)
		case result != "PASS" && !isListed:
			t.Errorf("%s: %s, and it is not in listed.txt", name, result)
		}
	}
	count := map[string]int{}
	for _, result := range whole {
		count[result]++
	}
	others := len(whole) - count["PASS"]
	t.Logf("%d cases: %d passed, %d are listed (%d of them fail, %d skip themselves, %d are not run by BuildKit)",
		len(whole), count["PASS"], others, count["FAIL"], count["SKIP"], count[notRun])
}
