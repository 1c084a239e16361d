package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sections are those that a part writes by itself, in their order.
var sections = []struct {
	part, title string
	text        func(*world) string
}{
	{"deltas", deltasTitle, (*world).deltasSection},
	{"dockerfile", dockerfileTitle, (*world).dockerfileSection},
	{"verbs", verbsTitle, (*world).verbsSection},
}

// report prints what was measured, and writes it with its plots to the output directory.
func (w *world) report() error {
	if err := os.MkdirAll(w.out, 0o755); err != nil {
		return err
	}
	for _, s := range sections {
		if slices.Equal(w.parts, []string{s.part}) {
			return w.replaceSection(s.title, s.text(w))
		}
	}
	text := w.markdown()
	fmt.Println(text)
	errs := []error{os.WriteFile(filepath.Join(w.out, "benchmarks.md"), []byte(text), 0o644)}
	for _, p := range w.plots {
		errs = append(errs, p.write(filepath.Join(w.out, p.file)))
	}
	return errors.Join(errs...)
}

func (w *world) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmarks\n")
	p("Written by `make bench` on %s; do not edit. What each step costs and why is in [contributing/performance.md](contributing/performance.md).\n", time.Now().UTC().Format("2006-01-02"))
	p("- machine: %s", w.machine())
	p("- programs: %s; %s", strings.Join(unique(w.versions), "; "), runtime.Version())
	p("- tree: %s: %d files, %.0f MB. Second state: %d files changed or added (%d of them added), %d deleted, %.0f MB of changed files",
		w.trees.origin, w.trees.files, mb(w.trees.bytes), len(w.trees.changed), w.trees.added, w.trees.deleted, mb(w.trees.changedBytes))
	p("- base: Debian 12 (essential packages); for rebuilds with the tree's first state in /app, as one gzip layer")
	p("- %d rounds, in each of which every tool runs in turn; medians, with minimum and maximum. The changed files are changed again before each run, so that nobody has seen their bytes; page cache warm, file systems synced before each run.", w.rounds)
	p("- peak memory is the measured process's, and, after the plus sign, that of the daemons that worked for it.")
	p("- the floor is the sum of: stat of the source tree; read and SHA-256 of the files whose bytes are new; their compression (parallel gzip); writing them and one sync. Each step alone, with all processors.")
	for _, note := range w.notes {
		p("- %s", note)
	}
	p("\n## Targets\n\nMedians of this run, compared by the program that measured them.\n")
	b.WriteString(w.targetTable())
	for _, t := range w.tables {
		if len(t.rows) > 0 && !ofDockerfile(t.title) && !ofVerb(t.title) {
			p("\n## %s\n", t.title)
			b.WriteString(t.markdown())
		}
	}
	if len(w.latencies) > 0 {
		p("\n## Prepare of a second client\n\nOne client prepares a snapshot on Debian and removes it, again and again. Counted are the calls that have a moment in common with what the row says. A build commits from the end of its comparison to the end of the program.\n\n| daemon | p50 | p99 | worst | p99 ÷ idle | calls |\n|---|---:|---:|---:|---:|---:|")
		for _, l := range w.latencies {
			p("| %s | %.1f ms | %.1f ms | %.1f ms | %.1f | %d |", l.when, ms(l.p50), ms(l.p99), ms(l.worst), float64(l.p99)/float64(w.latencies[0].p99), l.n)
		}
	}
	b.WriteString(w.fleetTable())
	p("\n## Steps\n\nMedian seconds of each step, as `--format json` tells them, of the whole build, and of the process with its start and end.\n")
	b.WriteString(w.steps())
	for _, plot := range w.plots {
		p("\n![%s](%s)", plot.title, plot.file)
	}
	p("\n## Commands\n\n```text")
	p("%s", strings.TrimSpace(commands))
	p("```")
	for _, s := range sections {
		b.WriteString(s.text(w))
	}
	return b.String()
}

// replaceSection writes one section into what earlier runs wrote, where a run measured nothing else. The other sections
// stay; a new one goes to the end.
func (w *world) replaceSection(title, section string) error {
	fmt.Println(section)
	path := filepath.Join(w.out, "benchmarks.md")
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	before, rest, _ := strings.Cut(string(data), "\n"+title+"\n")
	_, after, more := strings.Cut(rest, "\n## ")
	text := strings.TrimRight(before, "\n") + "\n" + section
	if more {
		text += "\n## " + after
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

const commands = `
veneer build --from app:1 --sync V2:/app -t app:2
buildctl build --frontend=dockerfile.v0 --local=context=V2 --output=type=image,name=app:2,unpack=true   # FROM debian:12, COPY . /app
buildah --storage-driver overlay bud --layers -t app:2 V2                                               # the same Dockerfile
umoci unpack --image L:1 B; rsync -a --delete V2/ B/rootfs/app/; umoci repack --image L:2 B
tar -czf l.tar.gz --transform 's,^\.,app,' -C V2 .; crane append -b app:1 -f l.tar.gz -t app:2
make bench        # all of it; test/bench/doc.go has the settings
`

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// markdown is the table, with ratios where there is something to compare with.
func (t *table) markdown() string {
	var buildkit, floor float64
	if r := t.find(rowBuildkit); r != nil {
		buildkit = median(r.seconds())
	}
	if r := t.find(floorTool); r != nil {
		floor = median(r.seconds())
	}
	var b strings.Builder
	b.WriteString("| | median | min to max | faster than BuildKit | ÷ floor | layer | peak memory |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range t.rows {
		all := r.seconds()
		mid := median(all)
		faster, above := "", ""
		if buildkit > 0 && r.tool != rowBuildkit && r.tool != floorTool {
			faster = fmt.Sprintf("%.1f ×", buildkit/mid)
		}
		if floor > 0 && r.tool != floorTool {
			above = fmt.Sprintf("%.1f", mid/floor)
		}
		layer := median(r.sorted(func(s sample) float64 { return mb(s.layer) }))
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f to %.2f | %s | %s | %s | %s |\n", r.tool, mid, all[0], all[len(all)-1], faster, above, megabytes(layer), r.memory())
	}
	return b.String()
}

func (r *row) memory() string {
	own := median(r.sorted(func(s sample) float64 { return mb(s.rss) }))
	daemons := median(r.sorted(func(s sample) float64 { return mb(s.daemon) }))
	if daemons == 0 {
		return megabytes(own)
	}
	return fmt.Sprintf("%.0f + %.0f MB", own, daemons)
}

func megabytes(n float64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f MB", n)
}

// steps is a table of the rows that have steps.
func (w *world) steps() string {
	var b strings.Builder
	for _, t := range w.tables {
		for _, r := range t.rows {
			if len(r.samples) == 0 || r.samples[0].steps == nil || t.title == scenarioChanges || t.title == scenarioBase {
				continue
			}
			var parts []string
			for name := range r.samples[0].steps {
				parts = append(parts, fmt.Sprintf("%s %.3f", name, median(r.sorted(func(s sample) float64 { return s.steps[name] }))))
			}
			slices.Sort(parts)
			fmt.Fprintf(&b, "- %s, %s: %s%s; process %.3f\n", t.title, r.tool, strings.Join(parts, ", "), r.whole(), median(r.seconds()))
		}
	}
	return b.String()
}

// whole is what the tool itself says it took, where it does.
func (r *row) whole() string {
	own := median(r.sorted(func(s sample) float64 { return s.own }))
	if own == 0 {
		return ""
	}
	return fmt.Sprintf("; build %.3f", own)
}

func unique(words []string) []string {
	var out []string
	for _, word := range words {
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// machine describes what the run was on.
func (w *world) machine() string {
	model := "unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var info unix.Sysinfo_t
	memory := "?"
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf("%.0f GB", float64(info.Totalram)*float64(info.Unit)/1e9)
	}
	kernel := "?"
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return fmt.Sprintf("%d × %s, %s, Linux %s, load average %s when the run began", runtime.NumCPU(), model, memory, kernel, w.load1)
}
