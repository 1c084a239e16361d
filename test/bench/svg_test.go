package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      []float64
	}{
		{0.33, 0.65, []float64{0.2, 0.5, 1}},
		{0.31, 12, []float64{0.2, 0.5, 1, 2, 5, 10, 20}},
		{0.006, 12, []float64{0.001, 0.01, 0.1, 1, 10, 100}},
		{0.3, 0.3, []float64{0.2, 0.5}},
		{1, 1, []float64{1, 2}},
	} {
		got := ticks(c.low, c.high)
		if !slices.Equal(got, c.want) {
			t.Errorf("ticks(%g, %g) = %v, want %v", c.low, c.high, got, c.want)
		}
		if got[0] > c.low || got[len(got)-1] < c.high {
			t.Errorf("ticks(%g, %g) = %v leave values out", c.low, c.high, got)
		}
	}
}

// A plot is well-formed, and says in words what it shows.
func TestPlot(t *testing.T) {
	s := series{name: "a < b"}
	for name, seconds := range map[string]float64{"0": 0.3, "10 %": 2} {
		s.add(name, &row{samples: []sample{{seconds: seconds}, {seconds: 2 * seconds}, {seconds: seconds / 2}}})
	}
	p := plot{title: "Title & more", axis: "files changed", series: []series{s, {name: "empty"}}}
	path := filepath.Join(t.TempDir(), "plot.svg")
	if err := p.write(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text []string
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := token.(xml.CharData); ok && strings.TrimSpace(string(data)) != "" {
			text = append(text, string(data))
		}
	}
	for _, want := range []string{"Title & more", "files changed", "0", "10 %", "0.1 s", "5 s"} {
		if !slices.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if !slices.ContainsFunc(text, func(line string) bool { return strings.HasPrefix(line, "a < b, ") }) {
		t.Errorf("no label in %q", text)
	}
}
