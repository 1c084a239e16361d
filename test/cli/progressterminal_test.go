package cli_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

var update = flag.Bool("update", false, "write the golden files of terminals anew")

// run starts a program with a terminal as all that it has, unless its standard output
// is another. wait returns its exit code.
func (b *bench) run(x *harness.Terminal, cmd *exec.Cmd) (wait func() int) {
	b.t.Helper()
	cmd.Stdin, cmd.Stderr = x.File, x.File
	if cmd.Stdout == nil {
		cmd.Stdout = x.File
	}
	// Its keyboard sends signals, and so does its size.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = cmd.Process.Kill() }) // It is over mostly.
	return func() int {
		b.t.Helper()
		_ = cmd.Wait() // its exit code says how it ended
		return cmd.ProcessState.ExitCode()
	}
}

// unsteady are the parts of a screen that are others each time.
var unsteady = []struct {
	is *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\d+\.\d s\b`), "N s"},
	{regexp.MustCompile(`sha256:[0-9a-f]{4,64}…?`), "sha256:…"},
	{regexp.MustCompile(`127[\d.:…]*`), "registry"},
	{regexp.MustCompile(`\[\S+ 1/`), "[stage 1/"}, // of stages with the same base, one has its name
	{regexp.MustCompile(`…[0-9a-f]{8,}`), "…"},
	{regexp.MustCompile(`\d+ B, for files`), "N B, for files"},
	{regexp.MustCompile(`(, )?\d+(\.\d)? [kM]?B/s`), ""},
	{regexp.MustCompile(`(?m)^\^C`), ""}, // where the terminal shows the key before a frame does
}

// screenIs compares a screen with a file below testdata. With -update it writes it.
func screenIs(t *testing.T, file, screen string) {
	t.Helper()
	for _, u := range unsteady {
		screen = u.is.ReplaceAllString(screen, u.by)
	}
	file = filepath.Join("testdata", "terminal", file)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(screen), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != screen {
		t.Errorf("%s (%v):\n%s", file, err, screen)
	}
}

// slowRegistry is a registry that sends half of each layer, and the rest when it is
// let go.
func slowRegistry(t *testing.T, registry *harness.Registry) (host string, letGo func()) {
	t.Helper()
	to, err := url.Parse(registry.URL())
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	letGo = sync.OnceFunc(func() { close(gate) })
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && r.ContentLength > 1<<20 {
				r.Body = &halfway{ReadCloser: r.Body, left: r.ContentLength / 2, gate: gate}
			}
			return nil
		},
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	t.Cleanup(letGo)
	return s.Listener.Addr().String(), letGo
}

// halfway is a body that stops in the middle.
type halfway struct {
	io.ReadCloser
	left int64
	gate chan struct{}
}

func (h *halfway) Read(p []byte) (int, error) {
	if h.left == 0 {
		<-h.gate
		return h.ReadCloser.Read(p)
	}
	n, err := h.ReadCloser.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// TestPullOnATerminal: what comes is measured by what there is to come, also after the
// terminal became another size.
func TestPullOnATerminal(t *testing.T) {
	registry := harness.NewRegistry(t)
	from := newBench(t).withBase()
	from.write("app/large", strings.Repeat("veneer\n", 1<<20))
	from.ok("build", "--from", "base", "--copy", "app/:/app", "--compression", "none", "-t", registry.Addr()+"/team/app:1", "--push")
	for _, width := range []int{20, 40, 80, 120, 300} {
		host, letGo := slowRegistry(t, registry)
		b := newBench(t)
		x := harness.OpenTerminal(t, width, 24)
		b.env = []string{"TERM=xterm"}
		cmd := b.command("pull", "--no-unpack", host+"/team/app:1")
		cmd.Stdout = io.Discard // the digest is another each time
		wait := b.run(x, cmd)
		x.WaitFor("50%")
		x.Resize(width*2/3, 10)
		x.WaitFor("50%")
		letGo()
		if code := wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		x.Close()
		screenIs(t, fmt.Sprintf("pull-%d.txt", width), x.Screen())
	}
}

// busybox loads an image that processes run in.
func (b *bench) busybox() {
	b.t.Helper()
	file := filepath.Join(b.dir, "busybox.tar")
	harness.BusyboxImage(b.t, file, "docker.io/library/busybox:1")
	b.ok("load", file)
}

// parallel has two stages that wait for each other, and one that needs both.
const parallel = `FROM docker.io/library/busybox:1 AS one
RUN echo one begins; sleep 3; echo one ends
FROM docker.io/library/busybox:1 AS two
RUN echo two begins; sleep 5; echo two ends
FROM docker.io/library/busybox:1
COPY --from=one /etc /one
COPY --from=two /etc /two
`

// TestDockerfileOnATerminal: steps side by side, what they write while they run, and
// one line for each in the end; of one that fails, what it wrote.
func TestDockerfileOnATerminal(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	b := newBench(t)
	b.busybox()
	b.env = []string{"TERM=xterm"}
	b.write("app/Dockerfile", parallel)
	x := harness.OpenTerminal(t, 100, 24)
	cmd := b.command("build", "--network", "none", "-t", "app:1", "app")
	cmd.Stdout = io.Discard // the digest is another each time
	wait := b.run(x, cmd)
	x.WaitFor("  one begins")
	x.WaitFor("  two begins")
	x.Resize(60, 30)
	x.WaitFor("of 5 steps")
	if code := wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	x.Close()
	screenIs(t, "dockerfile.txt", x.Screen())

	b.write("app/Dockerfile", "FROM docker.io/library/busybox:1\nRUN echo it said why; exit 3\n")
	x = harness.OpenTerminal(t, 80, 40)
	if code := b.run(x, b.command("build", "--network", "none", "app"))(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	x.Close()
	screenIs(t, "dockerfile-failed.txt", x.Screen())
}

// TestInterruptOnATerminal: Control-C marks what runs at once, and leaves the terminal
// as it was.
func TestInterruptOnATerminal(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	b := newBench(t)
	b.busybox()
	b.env = []string{"TERM=xterm"}
	b.write("app/Dockerfile", "FROM docker.io/library/busybox:1\nRUN echo begun; sleep 1000\n")
	x := harness.OpenTerminal(t, 80, 24)
	before := x.State()
	wait := b.run(x, b.command("build", "--network", "none", "app"))
	x.WaitFor("  begun")
	x.Type("\x03")
	if code := wait(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if x.State() != before {
		t.Error("the terminal is in another state")
	}
	x.Close()
	screenIs(t, "interrupted.txt", x.Screen())
}

// TestResizeInTmux: tmux breaks lines anew when its window changes, as most terminals
// do. No line is there twice, and none that is not live is lost. The screen is full, as
// it is mostly: tmux keeps empty lines at its end, and moves lines of the upper end, the
// live ones too, to where no program can erase them.
func TestResizeInTmux(t *testing.T) {
	harness.Check(t, harness.Installed("tmux", "tmux"))
	b := newBench(t).withBase()
	b.write("app/large", strings.Repeat("veneer\n", 1<<18))
	name := "docker.io/library/" + strings.Repeat("long-", 12) + "name:1"
	b.ok("build", "--from", "base", "--copy", "app/:/app", "--compression", "none", "-t", name)
	fifo := filepath.Join(b.dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "tmux", append([]string{"-u", "-f", "/dev/null", "-S", filepath.Join(b.dir, "tmux")}, args...)...)
		cmd.Env = append(b.command().Env, "LC_ALL=C.UTF-8", "TERM=xterm", "V="+program, "NAME="+name)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", filepath.Join(b.dir, "tmux"), "kill-server").Run() // It is over mostly.
	})
	script := `cd ` + b.dir + `; for i in $(seq 30); do echo "above $i."; done; "$V" save "$NAME" -o fifo; echo "exit code $?"; sleep 1000`
	tmux("new-session", "-d", "-x", "120", "-y", "24", "sh", "-c", script)
	reader, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(want string) (screen string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !strings.Contains(screen, want); time.Sleep(50 * time.Millisecond) {
			if screen = tmux("capture-pane", "-p", "-S", "-"); time.Now().After(end) {
				t.Fatalf("no %q in\n%s", want, screen)
			}
		}
		return screen
	}
	shown("%,")
	for _, width := range []string{"50", "20", "90", "31", "120", "20", "300"} {
		tmux("resize-window", "-x", width, "-y", "24")
		time.Sleep(300 * time.Millisecond) // some frames
		if screen := shown("above 1."); strings.Count(screen, "save") != 1 || strings.Count(screen, "above") != 30 {
			t.Errorf("%s columns wide:\n%s", width, screen)
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, reader) // until the program closes it
	}()
	screenIs(t, "tmux.txt", strings.TrimRight(shown("exit code"), "\n")+"\n")
}
