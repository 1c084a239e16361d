package harness

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal, and the screen that a person would see behind it.
// What runs on it is given File.
type Terminal struct {
	// File is the program's side.
	File *os.File

	t      testing.TB
	master *os.File
	read   chan struct{} // closed when all was read

	mu     sync.Mutex
	screen *vt.Emulator
	raw    bytes.Buffer
	title  string
	syncs  int
}

// OpenTerminal opens a pseudo-terminal of so many columns and lines.
func OpenTerminal(t testing.TB, width, height int) *Terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() }) // What it had to say was read.
	x := &Terminal{t: t, master: master, read: make(chan struct{}), screen: vt.NewEmulator(width, height)}
	x.screen.SetCallbacks(vt.Callbacks{Title: func(s string) { x.title = s }})
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.Resize(width, height)
	x.File, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.File.Close() }) // closed by Close mostly
	go x.show()
	x.answer()
	return x
}

// answer sends what the terminal answers to questions, as for its kind. They come from
// the keyboard's side. Without a reader the screen would wait.
func (x *Terminal) answer() {
	go func() { _, _ = io.Copy(x.master, x.screen) }() // It ends with the pipe.
	x.t.Cleanup(func() {
		if pipe, ok := x.screen.InputPipe().(io.Closer); ok {
			_ = pipe.Close() // never fails
		}
	})
}

// show keeps the screen up to date, until the program's side is closed.
func (x *Terminal) show() {
	defer close(x.read)
	buf := make([]byte, 4096)
	for {
		n, err := x.master.Read(buf)
		x.mu.Lock()
		x.raw.Write(buf[:n])
		_, _ = x.screen.Write(buf[:n]) // It never fails.
		x.mu.Unlock()
		if err != nil {
			return // EIO when the other side is closed
		}
	}
}

// Resize changes the size, of which a program in the foreground is told.
func (x *Terminal) Resize(width, height int) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.screen.Resize(width, height)
	size := &unix.Winsize{Col: uint16(width), Row: uint16(height)} //nolint:gosec // sizes of screens
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		x.t.Fatal(err)
	}
}

// Type types on the terminal's keyboard.
func (x *Terminal) Type(keys string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// State is how the terminal reads its keyboard, and writes.
func (x *Terminal) State() unix.Termios {
	x.t.Helper()
	state, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *state
}

// Screen is what the screen shows, without what is empty at the end of lines and of
// the screen. Lines that have left it come first.
func (x *Terminal) Screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var lines []string
	for _, line := range x.screen.Scrollback().Lines() {
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	for line := range strings.SplitSeq(x.screen.String(), "\n") {
		lines = append(lines, strings.TrimRight(line, " \r"))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// Sync waits until all that this process has written is on the screen.
func (x *Terminal) Sync() {
	x.t.Helper()
	x.syncs++
	want := fmt.Sprintf("sync %d", x.syncs)
	if _, err := fmt.Fprintf(x.File, "\x1b]2;%s\x07", want); err != nil {
		x.t.Fatal(err)
	}
	x.Until("it is in sync", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.title == want
	})
}

// WaitFor waits until the text is on the screen.
func (x *Terminal) WaitFor(text string) {
	x.t.Helper()
	x.Until(fmt.Sprintf("it shows %q", text), func() bool { return strings.Contains(x.Screen(), text) })
}

// Until waits until something is so. what says it in words.
func (x *Terminal) Until(what string, is func() bool) {
	x.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("waited until %s; the screen:\n%s", what, x.Screen())
		}
	}
}

// Close closes the program's side, which no process may have open any more, and
// returns all bytes that were written to the terminal.
func (x *Terminal) Close() string {
	x.t.Helper()
	_ = x.File.Close() // Nothing is buffered.
	select {
	case <-x.read:
	case <-time.After(10 * time.Second):
		x.t.Fatal("the terminal is still open")
	}
	return x.raw.String()
}
