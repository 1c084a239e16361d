package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// TestLoginOnATerminal: a password is asked for and not shown. However the question
// ends, the terminal is as it was.
func TestLoginOnATerminal(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer s.Close()
	for name, c := range map[string]struct {
		keys string
		code int
		says string
	}{
		"right":       {"s3cret\r", 0, "logged in to"},
		"wrong":       {"other\r", 1, "does not take this user name and password"},
		"none":        {"\r", 1, "there is no password"},
		"interrupted": {"s3\x03", 130, "stopped by signal"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.env = []string{"TERM=xterm", "DOCKER_CONFIG=" + filepath.Join(b.dir, "docker")}
			x := harness.OpenTerminal(t, 100, 24)
			before := x.State()
			wait := b.run(x, b.command("login", "--plain-http", s.Listener.Addr().String()))
			x.WaitFor("Username:")
			x.Type("me\r")
			x.WaitFor("Password:")
			x.Until("it does not show what is typed", func() bool { return x.State().Lflag&unix.ECHO == 0 })
			x.Type(c.keys)
			if code := wait(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if x.State() != before {
				t.Error("the terminal is in another state")
			}
			if text := x.Close(); !strings.Contains(text, c.says) || strings.Contains(text, "s3") {
				t.Errorf("the terminal shows %q", text)
			}
			_, err := os.Stat(filepath.Join(b.dir, "docker", "config.json"))
			if stored := err == nil; stored != (c.code == 0) {
				t.Errorf("credentials are stored: %v", stored)
			}
		})
	}
}

// TestDiffInLess: less shows a long difference until q is pressed. Control-C is for
// less, which goes on. Both end quietly, with the terminal as it was.
func TestDiffInLess(t *testing.T) {
	harness.Check(t, harness.Installed("less", "less"))
	b := newBench(t).withBase()
	for i := range 100 {
		b.write(fmt.Sprintf("app/%02d", i), strings.Repeat("x", i))
	}
	for name, keys := range map[string]string{"q": "q", "Control-C, q": "\x03"} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t, b.env = t, []string{"TERM=xterm", "PAGER=less"}
			x := harness.OpenTerminal(t, 100, 24)
			before := x.State()
			wait := b.run(x, b.command(quiet("diff", "--all", "--from", "base", "--copy", "app/:/many")...))
			x.WaitFor("/many/10")
			x.Until("less reads keys", func() bool { return x.State().Lflag&unix.ICANON == 0 })
			ended := make(chan int, 1)
			go func() { ended <- wait() }()
			x.Type(keys)
			for code := -1; code < 0; {
				select {
				case code = <-ended:
					if code != 0 {
						t.Errorf("exit code %d", code)
					}
				case <-time.After(300 * time.Millisecond): // An interrupt makes less forget what was typed after it.
					x.Type("q")
				}
			}
			if x.State() != before {
				t.Error("the terminal is in another state")
			}
			if text := x.Close(); strings.Contains(text, "veneer:") || strings.Contains(text, "/many/99") {
				t.Errorf("the terminal shows %q", text)
			}
		})
	}
}

// TestCompleteOnADaemon: the names of a running daemon's containers and snapshotters.
func TestCompleteOnADaemon(t *testing.T) {
	kinds := harness.Daemons(t)
	if len(kinds) == 0 {
		t.Skip("SKIP: there is no containerd")
	}
	d := harness.Start(t, kinds[0])
	b := newBench(t).onDaemon(d).withBase()
	container(t, d.Client(t), "c1", "docker.io/library/base:latest", map[string]string{"nerdctl/name": "web"})
	for _, c := range []struct{ args, want string }{
		{"commit |", "web"},
		{"commit w|", "web"},
		{"diff container:|", "container:web"},
		{"images --snapshotter over|", "overlayfs"},
		{"images --snapshotter nat|", "native"},
		{"history ba|", "base:latest"},
	} {
		before, word := strings.Fields(strings.TrimSuffix(c.args, "|")), ""
		if !strings.HasSuffix(c.args, " |") {
			before, word = before[:len(before)-1], before[len(before)-1]
		}
		out := b.ok(append(append([]string{"__complete"}, before...), word)...)
		if first, _, _ := strings.Cut(out, "\n"); first != c.want {
			t.Errorf("%s: %q, want %s", c.args, out, c.want)
		}
	}
}
