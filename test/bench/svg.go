package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// plot is a line for each series over named points; the scale of seconds is logarithmic, since the tools are decades
// apart.
type plot struct {
	file, title string
	axis        string // what the points are
	series      []series
}

type series struct {
	name   string
	points []point
}

type point struct {
	name           string
	low, mid, high float64
}

// add adds a row's median and spread, if there is such a row.
func (s *series) add(name string, r *row) {
	if r == nil {
		return
	}
	all := r.seconds()
	s.points = append(s.points, point{name, all[0], median(all), all[len(all)-1]})
}

const (
	plotWidth, plotHeight = 760, 420
	plotLeft, plotTop     = 70, 50
	plotRight, plotBottom = 190, 60
)

// colours are told apart by people who cannot tell red from green.
var colours = []string{"#d55e00", "#0072b2", "#777777", "#009e73"}

func (p plot) write(path string) error {
	names, low, high := p.bounds()
	if len(names) == 0 {
		return nil
	}
	grid := ticks(low, high)
	bottom, top := math.Log10(grid[0]), math.Log10(grid[len(grid)-1])
	x := func(name string) float64 {
		i := slices.Index(names, name)
		return plotLeft + (float64(i)+0.5)*float64(plotWidth-plotLeft-plotRight)/float64(len(names))
	}
	y := func(seconds float64) float64 {
		part := (math.Log10(seconds) - bottom) / (top - bottom)
		return plotHeight - plotBottom - part*(plotHeight-plotTop-plotBottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n"+`<text x="%d" y="26" font-size="15">%s</text>`+"\n", plotLeft, html.EscapeString(p.title))
	for _, seconds := range grid {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g s</text>`+"\n",
			plotLeft, y(seconds), plotWidth-plotRight, plotLeft-8, y(seconds)+4, seconds)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n",
		(plotLeft+plotWidth-plotRight)/2, plotHeight-12, html.EscapeString(p.axis))
	for _, name := range names {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(name), plotHeight-plotBottom+22, html.EscapeString(name))
	}
	labels := make(map[int]bool) // lines of text that are taken
	for i, s := range p.series {
		s.draw(&b, colours[i%len(colours)], x, y)
		s.label(&b, colours[i%len(colours)], y, labels)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// ticks returns the seconds that have a line: those around the lowest and the highest time, and decades between them,
// or where there are few of these, twos and fives as well.
func ticks(low, high float64) []float64 {
	var fine, decades []float64
	for d := math.Floor(math.Log10(low)); d <= math.Ceil(math.Log10(high)); d++ {
		for _, n := range []float64{1, 2, 5} {
			// From text: ten to the minus first is no tenth otherwise.
			seconds, err := strconv.ParseFloat(fmt.Sprintf("%ge%d", n, int(d)), 64)
			if err != nil {
				continue
			}
			fine = append(fine, seconds)
			if n == 1 {
				decades = append(decades, seconds)
			}
		}
	}
	if len(decades) > 4 {
		return decades
	}
	from, to := 0, len(fine)-1
	for from+2 < len(fine) && fine[from+1] <= low {
		from++
	}
	for to-1 > from && fine[to-1] >= high {
		to--
	}
	return fine[from : to+1]
}

func (s series) draw(b *strings.Builder, colour string, x func(string) float64, y func(float64) float64) {
	if len(s.points) == 0 {
		return
	}
	var line []string
	for _, pt := range s.points {
		line = append(line, fmt.Sprintf("%.1f,%.1f", x(pt.name), y(pt.mid)))
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s"/>`, x(pt.name), y(pt.low), y(pt.high), colour)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(pt.name), y(pt.mid), colour)
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(line, " "), colour)
}

// label names the line at its end, on a line of text that no other label has.
func (s series) label(b *strings.Builder, colour string, y func(float64) float64, taken map[int]bool) {
	if len(s.points) == 0 {
		return
	}
	const lineHeight = 16
	last := s.points[len(s.points)-1]
	row := int(y(last.mid)) / lineHeight
	for taken[row] {
		row++
	}
	taken[row] = true
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s, %.2g s</text>`+"\n",
		plotWidth-plotRight+8, row*lineHeight+lineHeight/2+4, colour, html.EscapeString(s.name), last.mid)
}

// bounds returns the points' names in order, and the shortest and longest time.
func (p plot) bounds() (names []string, low, high float64) {
	low, high = math.Inf(1), 0
	for _, s := range p.series {
		for _, pt := range s.points {
			if !slices.Contains(names, pt.name) {
				names = append(names, pt.name)
			}
			low, high = min(low, pt.low), max(high, pt.high)
		}
	}
	return names, low, high
}
