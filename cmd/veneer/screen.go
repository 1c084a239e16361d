package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// screen keeps lines at the end of a terminal up to date, the live ones. What is
// written to it stays above them.
//
// Between two frames the cursor is at the beginning of the first live line. A
// terminal that changes its width may break the live lines anew. The cursor stays
// with its line, so that all of them are below it, and are erased, however many they
// have become.
type screen struct {
	terminal io.Writer
	// size is the terminal's in columns and lines.
	size func() (width, height int)
	// lines are the live ones: at most so many, none of them wider.
	lines func(width, most int) []string
	// foreground reports whether the terminal is this process's to draw on, or a
	// shell's that has put it into the background; nil: it always is.
	foreground func() bool

	// every is the time between two frames; 0: frame is called by others.
	every time.Duration

	mu    sync.Mutex
	above bytes.Buffer
	// shown is the last frame, for a terminal of the width.
	shown []string
	width int
	// anew: others have written to the terminal since then.
	anew   bool
	closed bool
	stop   chan struct{}
	ended  chan struct{}
}

const (
	// frameTime is the time between two frames: more are not seen, and cost.
	frameTime = 100 * time.Millisecond
	// maxAbove is how much may wait for the next frame.
	maxAbove = 64 << 10
)

// start draws a frame now and then.
func (s *screen) start() {
	if s.every == 0 {
		return
	}
	s.stop, s.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.ended)
		tick := time.NewTicker(s.every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.frame()
			}
		}
	}()
}

// Write implements io.Writer. What is written appears with the next frame.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	if s.closed {
		defer s.mu.Unlock()
		return s.terminal.Write(p)
	}
	defer s.mu.Unlock()
	s.above.Write(p)
	if s.above.Len() > maxAbove {
		s.draw(s.shown, s.width)
	}
	return len(p), nil
}

// frame draws what has changed.
func (s *screen) frame() {
	width, height := s.size()
	// The last column stays free: what erases the rest of a line would erase it.
	lines := s.lines(width-1, max(1, height-1))
	if s.foreground != nil && !s.foreground() {
		lines = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.draw(lines, width)
	}
}

// draw writes the lines. s.mu is locked.
func (s *screen) draw(lines []string, width int) {
	// A line that is not complete waits for its end, unless it is too long for that.
	above := s.above.Next(bytes.LastIndexByte(s.above.Bytes(), '\n') + 1)
	if s.above.Len() > maxAbove {
		above = slices.Concat(above, s.above.Next(s.above.Len()), []byte("\n"))
	}
	same := len(above) == 0 && width == s.width
	if same && slices.Equal(lines, s.shown) {
		return
	}
	var out strings.Builder
	if !same && len(s.shown) > 0 || s.anew && len(lines) > 0 {
		out.WriteString("\r\x1b[J")
		s.anew = false
	}
	out.Write(above)
	// Without automatic margins a line is cut where the terminal thinks that it is
	// wider, or has just become narrower. Otherwise it would be two.
	if len(lines) > 0 {
		out.WriteString("\x1b[?7l")
		for i, line := range lines {
			if i > 0 {
				out.WriteString("\r\n")
			}
			out.WriteString(line + "\x1b[K")
		}
		out.WriteString("\x1b[?7h\r")
	}
	if len(lines) > 1 {
		fmt.Fprintf(&out, "\x1b[%dA", len(lines)-1)
	}
	if same && len(lines) < len(s.shown) {
		eraseRest(&out, len(lines))
	}
	s.shown, s.width = lines, width
	_, _ = io.WriteString(s.terminal, out.String())
}

// eraseRest erases what an earlier frame had below n lines. The cursor is on the
// first of them.
func eraseRest(out *strings.Builder, n int) {
	if n == 0 {
		out.WriteString("\r\x1b[J")
		return
	}
	fmt.Fprintf(out, "\x1b[%dB\x1b[J\x1b[%[1]dA", n)
}

// suspend erases the live lines, so that a shell has the terminal from there on, and
// stops the process. When it goes on, the lines are drawn anew.
func (s *screen) suspend(stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.draw(nil, s.width)
	}
	stop()
	s.shown, s.anew = nil, true
}

// resume draws the lines anew, when the process was stopped without a word before.
func (s *screen) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown, s.anew = nil, true
}

// close erases the live lines and writes what waits. Whatever is written later goes
// to the terminal.
func (s *screen) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.draw(nil, s.width)
	_, _ = s.terminal.Write(s.above.Bytes())
	s.closed = true
	s.mu.Unlock()
	if s.stop != nil {
		close(s.stop)
		<-s.ended
	}
}
