package main

import (
	"fmt"
	"math"
	"strings"
)

// limits are what the project wants to reach, as ratios in one run unless they have a unit.
const (
	limitFirst    = 25.0 // faster than BuildKit's rebuild, base never seen
	limitLater    = 60.0 // a later build
	limitFloor    = 2.0  // a later build, over the floor
	limitSame     = 10.0 // nothing changed
	limitTimes    = 60.0 // only mtimes changed
	limitNew      = 4.0  // everything is new
	limitGzip     = 1.07 // layer over that of the diff service
	limitMemory   = 100  // MB
	limitMillion  = 400  // MB, a million files
	limitLinear   = 1.25 // seconds per file over those of the smaller tree
	limitBase     = 1.25 // base ten times larger: what runs differ by anyway
	limitCold     = 1.5  // over a parallel read
	limitPrepare  = 2.0  // p99 over idle
	limitStepsSum = 0.05 // difference to the whole
)

// number is a measured value, or none.
type number struct {
	value float64
	ok    bool
}

// over divides; a value that was not measured makes none.
func (n number) over(d number) number {
	if !n.ok || !d.ok || d.value == 0 {
		return number{}
	}
	return number{n.value / d.value, true}
}

// target is one of the things to reach.
type target struct {
	text     string
	measured number
	unit     string
	reached  bool
}

func atLeast(n number, limit float64, text string) target {
	return target{fmt.Sprintf("%s: at least %g times", text, limit), n, "×", n.value >= limit}
}

func atMost(n number, limit float64, unit, text string) target {
	limits := fmt.Sprintf("%g %s", limit, unit)
	if unit == "×" {
		limits = fmt.Sprintf("%g times", limit)
	}
	return target{fmt.Sprintf("%s: at most %s", text, limits), n, unit, n.value <= limit}
}

// of returns the median of something in a row; a table or row that is not there has none.
func (w *world) of(title, tool string, what func(sample) float64) number {
	for _, t := range w.tables {
		if t.title != title {
			continue
		}
		if r := t.find(tool); r != nil {
			return number{median(r.sorted(what)), true}
		}
	}
	return number{}
}

func (w *world) seconds(title, tool string) number {
	return w.of(title, tool, func(s sample) float64 { return s.seconds })
}

func (w *world) layer(tool string) number {
	return w.of(scenarioRebuild, tool, func(s sample) float64 { return float64(s.layer) })
}

// faster is how many times faster a row of Veneer is than BuildKit's in the same table.
func (w *world) faster(title, tool string) number {
	return w.seconds(title, rowBuildkit).over(w.seconds(title, tool))
}

// peakMemory is the largest peak of Veneer's runs in some tables, in megabytes.
func (w *world) peakMemory(titles ...string) (n number) {
	for _, t := range w.tables {
		for _, r := range t.rows {
			for _, s := range r.samples {
				for _, title := range titles {
					if title == t.title && strings.HasPrefix(r.tool, rowOfVeneer) {
						n = number{max(n.value, mb(s.rss)), true}
					}
				}
			}
		}
	}
	return n
}

// prepareRatio is the p99 of a row over that of the idle daemon.
func (w *world) prepareRatio(when string) number {
	var idle, busy number
	for _, l := range w.latencies {
		switch l.when {
		case whenIdle:
			idle = number{l.p99.Seconds(), l.n > 0}
		case when:
			busy = number{l.p99.Seconds(), l.n > 0}
		}
	}
	return busy.over(idle)
}

// stepsOff is the largest part by which the steps of a build add up to more or less than the build.
func (w *world) stepsOff() (n number) {
	for _, t := range w.tables {
		for _, r := range t.rows {
			for _, s := range r.samples {
				if s.own > 0 {
					n = number{max(n.value, math.Abs(s.sum().seconds-s.own)/s.own), true}
				}
			}
		}
	}
	return n
}

// perFile is what a build that changes little takes for each file of a tree.
func (w *world) perFile(title, tool string, files int) number {
	return w.seconds(title, tool).over(number{float64(files), true})
}

// targets compares what was measured with what is to be reached.
func (w *world) targets() []target {
	floor := w.seconds(scenarioRebuild, floorTool)
	return []target{
		atLeast(w.faster(scenarioRebuild, rowFirst), limitFirst, "1. base never seen, faster than BuildKit's rebuild"),
		atLeast(w.faster(scenarioRebuild, rowLater), limitLater, "2. a later build, faster than BuildKit's rebuild"),
		atMost(w.seconds(scenarioRebuild, rowLater).over(floor), limitFloor, "×", "2. a later build, over the floor"),
		atLeast(w.faster(scenarioSame, rowVeneer), limitSame, "3. nothing changed, faster than BuildKit"),
		atLeast(w.faster(scenarioTimes, rowVeneer), limitTimes, "3. only mtimes changed, faster than BuildKit"),
		atLeast(w.faster(scenarioNew, rowVeneer), limitNew, "4. everything is new, faster than BuildKit, gzip both"),
		atMost(w.layer(rowLater).over(w.layer(rowCommit)), limitGzip, "×", "5. gzip layer, over that of `nerdctl commit`"),
		atMost(w.layer(rowZstd).over(w.layer(rowCommit)), 1, "×", "5. zstd layer, over that of `nerdctl commit`"),
		atMost(w.peakMemory(scenarioRebuild, scenarioSame, scenarioTimes, scenarioNew), limitMemory, "MB",
			fmt.Sprintf("6. peak memory, tree of %d files, worst run", w.trees.files)),
		atMost(w.peakMemory(scenarioMillion), limitMillion, "MB", "6. peak memory, a million files, worst run"),
		atMost(w.perFile(scenarioMillion, millionLater, million).over(w.perFile(scenarioSame, rowVeneer, w.trees.files)), limitLinear, "×",
			"6. linear: seconds per file of a million, over those of the tree"),
		atMost(w.seconds(scenarioBase, baseRow(10, baseFirst)).over(w.seconds(scenarioBase, baseRow(1, baseFirst))), limitBase, "×",
			"6. base ten times larger, never seen: its time, over that of the small one"),
		atMost(w.seconds(scenarioBase, baseRow(10, baseLater)).over(w.seconds(scenarioBase, baseRow(1, baseLater))), limitBase, "×",
			"6. base ten times larger, a later build: its time, over that of the small one"),
		atMost(w.seconds(scenarioCold, coldVeneer(coldLater)).over(w.seconds(scenarioCold, coldFloor(coldLater))), limitCold, "×",
			"7. cold cache, a later build, over a parallel read"),
		atMost(w.seconds(scenarioCold, coldVeneer(coldFirst)).over(w.seconds(scenarioCold, coldFloor(coldFirst))), limitCold, "×",
			"7. cold cache, base never seen, over a parallel read"),
		atMost(w.prepareRatio(whenLater), limitPrepare, "×", "8. p99 of a second client's Prepare, "+whenLater+", over idle"),
		atMost(w.prepareRatio(whenNew), limitPrepare, "×", "8. p99 of a second client's Prepare, "+whenNew+", over idle"),
		atMost(w.stepsOff(), limitStepsSum, "of the whole", "steps add up to the build: difference, worst run"),
	}
}

// targetTable says of each target whether it was reached.
func (w *world) targetTable() string { return targetRows(w.targets()) }

func targetRows(targets []target) string {
	var b strings.Builder
	b.WriteString("| target | measured | |\n|---|---:|---|\n")
	for _, t := range targets {
		measured, verdict := "", "not measured"
		if t.measured.ok {
			measured, verdict = fmt.Sprintf("%.3g %s", t.measured.value, t.unit), "**not reached**"
			if t.reached {
				verdict = "reached"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", t.text, measured, verdict)
	}
	return b.String()
}
