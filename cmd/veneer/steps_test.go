package main

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

// allocated is how many bytes are allocated while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMuchOutput: what a step writes costs each kind of display the same for each
// line, however many there are at once. Time that grows with the square of them shows
// as memory that does.
func TestMuchOutput(t *testing.T) {
	const perByte = 2000 // The JSON of a line of two bytes has some hundred.
	data := []byte(strings.Repeat("y\n", 1<<19))
	for _, kind := range []string{"plain", "quiet", "json", rawProgress, "tty"} {
		a := newApp(streams{err: io.Discard}, func(string) (string, bool) { return "", false })
		a.flags.progress.value = kind
		w, err := a.newStepPrinter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Started(1, "RUN yes")
		if n := allocated(func() { w.Output(1, data) }); n > perByte*uint64(len(data)) {
			t.Errorf("%s: %d bytes for %d of output", kind, n, len(data))
		}
		w.Ended(1, veneer.StepEnding{})
		w.close()
	}
}

// TestPiecesOfOutput: lines are the same however they come in pieces, and all is there.
func TestPiecesOfOutput(t *testing.T) {
	data := []byte("one\n\n  two\r\n" + strings.Repeat("x", keptLine/2) + "\nlast")
	for size := 1; size <= len(data); size++ {
		var lines []string
		line := func(text string, _ []byte) { lines = append(lines, text) }
		o := &stepOutput{keep: 3}
		for rest := data; len(rest) > 0; {
			n := min(size, len(rest))
			o.add(rest[:n], line)
			rest = rest[n:]
		}
		o.flush(line)
		want := []string{"one", "", "  two", strings.Repeat("x", keptLine/2), "last"}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") || strings.Join(o.last, "\n") != strings.Join(want[2:], "\n") {
			t.Fatalf("pieces of %d bytes: %q, %q", size, lines, o.last)
		}
	}
}

// TestLineWithoutEnd: a screen does not keep a line that does not end.
func TestLineWithoutEnd(t *testing.T) {
	var out bytes.Buffer
	s := &screen{terminal: &out}
	for range 100 {
		if _, err := s.Write(make([]byte, maxAbove/10)); err != nil {
			t.Fatal(err)
		}
		if s.above.Len() > maxAbove {
			t.Fatalf("%d bytes wait", s.above.Len())
		}
	}
	s.close()
	if got := bytes.Count(out.Bytes(), []byte{0}); got != 100*(maxAbove/10) {
		t.Errorf("%d bytes are shown", got)
	}
}
