package engine

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// unnamed are options as they are when the user names no daemon, and the
// default one is at an address of ours.
func unnamed(t *testing.T, address string, notify func(string)) Options {
	t.Helper()
	o, err := Options{Address: address, Root: t.TempDir(), Notify: notify}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	o.named = ""
	return o
}

// mute is a socket on which nobody answers.
func mute(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mute.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return path
}

func TestAutoTakesEmbeddedWithoutDaemon(t *testing.T) {
	for name, c := range map[string]struct{ address, want string }{
		"no socket":              {filepath.Join(t.TempDir(), "none.sock"), "no containerd at "},
		"socket without answers": {mute(t), "no containerd answers at "},
	} {
		t.Run(name, func(t *testing.T) {
			var notes []string
			o := unnamed(t, c.address, func(s string) { notes = append(notes, s) })
			o.probe, o.notice = 50*time.Millisecond, time.Millisecond
			e, err := openAuto(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = e.Close() }()
			all := strings.Join(notes, "\n")
			if e.Mode != Embedded || !strings.Contains(all, "using the embedded engine at "+e.Root) || !strings.Contains(all, c.want+c.address) {
				t.Errorf("mode %s, notes %q", e.Mode, all)
			}
			if strings.Contains(all, "waiting for containerd at "+c.address) != (name == "socket without answers") {
				t.Errorf("notes %q", all)
			}
		})
	}
}

// Where both engines fail, the error says why each does.
func TestAutoFailsForBothReasons(t *testing.T) {
	o := unnamed(t, filepath.Join(t.TempDir(), "none.sock"), nil)
	o.Root = "/proc/veneer"
	_, err := openAuto(t.Context(), o)
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"no containerd at " + o.Address, "embedded engine at /proc/veneer"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrRoot) {
		t.Errorf("error %v", err)
	}
}

// What is asked for by name is not looked for elsewhere.
func TestNamedDaemonNeverFallsBack(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.sock")
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"address":          {Options{Address: none}, "address"},
		"mute address":     {Options{Address: mute(t)}, "address"},
		"address, by auto": {Options{Mode: Auto, Address: "unix://" + none}, "address"},
		"namespace":        {Options{Namespace: "k8s.io"}, "namespace"},
		"snapshotter":      {Options{Snapshotter: "native"}, "snapshotter"},
		"default's name":   {Options{Namespace: DefaultNamespace}, "namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Root = t.TempDir()
			o, err := c.o.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			o.probe, o.notice = 50*time.Millisecond, time.Millisecond
			if c.o.Address == "" {
				o.Address = none // and not what this host has
			}
			_, err = openAuto(t.Context(), o)
			if !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrNotReplaced) || !strings.Contains(err.Error(), "since the "+c.want+" was given") || !strings.Contains(err.Error(), o.Address) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestSlowDaemon: one that answers later than people are patient is waited for, and they are told.
func TestSlowDaemon(t *testing.T) {
	d := harness.Start(t, harness.Containerd2)
	path := filepath.Join(t.TempDir(), "slow.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	told := make(chan struct{})
	go forward(l, d.Address(), told)
	var notes []string
	var once sync.Once
	e, err := Open(t.Context(), Options{Address: path, Root: t.TempDir(), Notify: func(s string) {
		notes = append(notes, s)
		once.Do(func() { close(told) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	if want := "waiting for containerd at " + path; e.Mode != Containerd || len(notes) != 1 || !strings.HasPrefix(notes[0], want) {
		t.Errorf("mode %s, notes %q, want one that begins with %q", e.Mode, notes, want)
	}
}

// forward leads to another socket all that connects, from the moment that start is closed.
func forward(l net.Listener, to string, start <-chan struct{}) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			<-start
			up, err := net.Dial("unix", to)
			if err != nil {
				return
			}
			defer func() { _ = up.Close() }()
			go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
			_, _ = io.Copy(c, up)
		}()
	}
}
