package systemd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// program is the compiled veneer.
var program string // set once, before any test runs

func TestMain(m *testing.M) { os.Exit(harness.MainWithProgram(m, &program)) }

// machine is a container that systemd boots in.
type machine struct {
	t    *testing.T
	name string
	data string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("systemd-nspawn", "systemd-container"))
	m := &machine{t: t, name: fmt.Sprintf("veneer-test-%d", os.Getpid()), data: t.TempDir()}
	for _, dir := range []string{"system", "system/multi-user.target.wants", "sysusers", "lib", "bin"} {
		m.check(os.MkdirAll(m.at(dir), 0o755))
	}
	m.check(os.Chmod(m.at("lib"), 0o700))
	m.program(program, "bin/veneer")
	m.program("testdata/drive.sh", "bin/drive")
	for name, text := range units(t) {
		m.write("system/"+name, strings.ReplaceAll(text, "/usr/local/bin/", "/opt/veneer/bin/"))
	}
	m.registry()
	m.write("system/veneer-prune.service.d/engine.conf", "[Service]\nEnvironment=VENEER_ENGINE=embedded\n")
	t.Cleanup(m.removeCgroup)
	return m
}

// registry is what a registry needs that is run in the machine, and lets in only one user.
func (m *machine) registry() {
	registry, err := harness.RegistryProgram()
	harness.Check(m.t, err)
	m.program(registry, "bin/registry")
	m.write("registry/config.yml", "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /data/registry/storage\nhttp:\n  addr: 127.0.0.1:5000\n"+
		"auth:\n  htpasswd:\n    realm: veneer\n    path: /data/registry/htpasswd\n")
	m.write("registry/htpasswd", harness.RegistryHtpasswd)
	auth := base64.StdEncoding.EncodeToString([]byte(harness.RegistryUser + ":" + harness.RegistryPassword))
	for _, name := range []string{"login.json", "config.json"} { // the latter for who asks what was pushed
		m.write("registry/"+name, fmt.Sprintf(`{"auths": {"127.0.0.1:5000": {"auth": %q}}}`, auth))
	}
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) at(name string) string { return filepath.Join(m.data, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.check(os.MkdirAll(filepath.Dir(m.at(name)), 0o755))
	m.check(os.WriteFile(m.at(name), []byte(text), 0o644)) // as units are
}

func (m *machine) program(from, to string) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	m.check(err)
	m.write(to, string(data))
	m.check(os.Chmod(m.at(to), 0o755))
}

// removeCgroup removes what systemd has made in the hierarchy, which is seen where it is mounted.
func (m *machine) removeCgroup() {
	const script = `mount -t cgroup2 none /sys/fs/cgroup; find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +`
	for range 50 {
		out, err := exec.CommandContext(context.Background(), "unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", m.name).CombinedOutput()
		if err == nil || bytes.Contains(out, []byte("No such file")) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.t.Error("the machine's control groups stay")
}

// boot boots until the driver has done its part, and then cuts the power: all processes are killed at once.
func (m *machine) boot(part string) {
	m.t.Helper()
	m.write("system/drive.service", "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nExecStart=/opt/veneer/bin/drive "+part+
		"\nStandardOutput=append:/data/log\nStandardError=inherit\n")
	link := m.at("system/multi-user.target.wants/drive.service")
	if err := os.Symlink("../drive.service", link); !errors.Is(err, fs.ErrExist) {
		m.check(err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "testdata/boot.sh", m.name, m.data, "c0ffee00c0ffee00c0ffee00c0ffee00")
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.check(cmd.Start())
	for ctx.Err() == nil && !m.done() && syscall.Kill(cmd.Process.Pid, 0) == nil {
		time.Sleep(50 * time.Millisecond)
	}
	m.check(cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	log, _ := os.ReadFile(m.at("log"))
	if !bytes.HasSuffix(bytes.TrimSpace(lastLine(log)), []byte(")")) || !bytes.Contains(lastLine(log), []byte("== all done")) {
		m.t.Fatalf("%s boot:\n%s\n%s", part, log, console.Bytes())
	}
	m.check(os.Remove(m.at("done")))
	m.check(os.Rename(m.at("log"), m.at(part+".log")))
	m.t.Logf("%s boot:\n%s", part, log)
}

func (m *machine) done() bool {
	_, err := os.Stat(m.at("done"))
	return err == nil
}

func lastLine(text []byte) []byte {
	text = bytes.TrimSpace(text)
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

// veneer runs the program here, on the machine's engine.
func (m *machine) veneer(args ...string) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), program, args...)
	cmd.Dir = m.data
	cmd.Env = append(os.Environ(), "VENEER_ENGINE=embedded", "VENEER_PROGRESS=quiet", "VENEER_ROOT="+m.at("lib"))
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// jsonText is a list as a Dockerfile's instruction has it.
func jsonText(t *testing.T, list []string) string {
	t.Helper()
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// units are the templates, by name.
func units(t *testing.T) map[string]string {
	t.Helper()
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "contrib", "systemd", "*"))
	if err != nil || len(files) < 7 {
		t.Fatalf("units %q, %v", files, err)
	}
	all := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(data)
	}
	return all
}

// oddTexts are what is hard to quote, and random ones.
func oddTexts(seed uint64) []string {
	list := []string{
		"", " ", "%", "%%", "%i%n", "$", "$$", "$HOME", "${HOME}", "\\", "\\\\n", "\"", "'", "a'b\"c", ";", "\\;", "tab\there", "two\nlines", "#x", "-", "@x", ":x",
		"+x", "=x", "naïve ☃", "trailing\\", "back\\x20slash", "%h/$x;\"'\\\n", "\u0085\u2028", "{}", "*?[a]", "~", "&|<>",
	}
	const letters = "ab \"'\\%$;#{}\n\tü☃=-"
	r := rand.New(rand.NewPCG(seed, 1))
	runes := []rune(letters)
	for range 20 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		list = append(list, b.String())
	}
	return list
}

// images are those that the driver runs: three versions of a service, and one with all that is hard to quote.
func (m *machine) images(texts []string) {
	busybox := harness.Busybox(m.t)
	m.program(busybox, "bin/sh")
	m.write("image/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n")
	m.write("image/etc/group", "app:x:1235:\nmore:x:1236:app\n")
	m.program(busybox, "image/bin/sh")
	m.check(os.Remove(m.at("bin/sh")))
	m.veneer("build", "--from", "scratch", "--copy", "image/:/", "-t", "base")
	for _, v := range []string{"1", "2", "3"} {
		m.write("version", v)
		script := "cat /version >/data/version; exec sleep 1000"
		m.veneer("build", "--from", "base", "--copy", "version:/version", "-t", "app:"+v, "-c", "USER app", "-c", "WORKDIR /etc", "-c", "VOLUME /data",
			"-c", "ENTRYPOINT "+jsonText(m.t, []string{"sh", "-ec"}), "-c", "CMD "+jsonText(m.t, []string{script}), "-c", "ENV PATH=/bin", "-c", "STOPSIGNAL SIGINT")
	}
	quote := []string{
		"build", "--from", "base", "-t", "quote", "-c", "VOLUME /data",
		"-c", "ENTRYPOINT " + jsonText(m.t, []string{"/bin/sh", "-c", "cat /proc/self/environ >/data/environ; cat /proc/$$/cmdline >/data/cmdline; >/data/done; sleep 1000"}),
		"-c", "CMD " + jsonText(m.t, texts),
	}
	for i, text := range texts {
		quote = append(quote, "-c", fmt.Sprintf("ENV V%d=%s", i, dockerQuoted(text)))
	}
	m.veneer(quote...)
}

// dockerQuoted is a value of ENV, in which nothing is expanded.
func dockerQuoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// A service from a mounted image is updated and rolled back by a tag, what is pruned and built by units is, and after a
// power cut all of it works, and nothing is left.
func TestMachine(t *testing.T) {
	m := newMachine(t)
	texts := oddTexts(uint64(time.Now().UnixNano()))
	// A Dockerfile's instruction cannot have a newline in it: those are for internal/systemd's own test.
	texts = slices.DeleteFunc(texts, func(s string) bool { return strings.ContainsRune(s, '\n') })
	m.images(texts)
	m.boot("first")
	m.sameWords("cmdline", "", texts)
	m.sameWords("environ", "V", texts)
	m.boot("second")
	m.nothingInUse()
}

// sameWords compares what the image's process found with what the image says.
func (m *machine) sameWords(file, prefix string, want []string) {
	m.t.Helper()
	data, err := os.ReadFile(m.at(file))
	m.check(err)
	got := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	for i, w := range want {
		if prefix != "" {
			if w = fmt.Sprintf("%s%d=%s", prefix, i, w); !slices.Contains(got, w) {
				m.t.Errorf("%s lacks %q", file, w)
			}
			continue
		}
		if at := len(got) - len(want) + i; at < 0 || got[at] != w {
			m.t.Errorf("%s has %q where the image says %q", file, got[max(0, at)], w)
		}
	}
}

// nothingInUse looks at the engine with the power off.
func (m *machine) nothingInUse() {
	m.t.Helper()
	e, err := engine.Open(m.t.Context(), engine.Options{Mode: engine.Embedded, Root: m.at("lib")})
	m.check(err)
	defer func() { m.check(e.Close()) }()
	ctx := e.Context(m.t.Context())
	if leases, err := e.Client.LeasesService().List(ctx); err != nil || len(leases) > 0 {
		m.t.Errorf("left leases %v, %v", leases, err)
	}
	m.check(e.Client.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			m.t.Errorf("left %s snapshot %s", info.Kind, info.Name)
		}
		return nil
	}))
}
