package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// What Dockerfiles are to reach.
const (
	limitDockerfileOnto   = 40.0 // faster than BuildKit, one file changed
	limitDockerfileSteps  = 3.0  // the same without --onto
	limitDockerfileSame   = 10.0 // nothing changed
	limitDockerfileOver   = 1.0  // seconds beyond the compiler's
	limitDockerfileStored = 2.0  // percent of BuildKit's new bytes
	limitDockerfileMemory = 150  // MB
	limitProgram          = 32   // MB
)

// dockerfileTitle heads what is said of Dockerfiles.
const dockerfileTitle = "## Dockerfiles"

// ofDockerfile reports whether a scenario is one of them.
func ofDockerfile(title string) bool { return strings.HasPrefix(title, "Dockerfile ") }

func (w *world) dockerfileTargets() []target {
	fasterBy := func(title, row string) number { return w.seconds(title, rowBuildkitD).over(w.seconds(title, row)) }
	stored := func(row string) number {
		return w.of(scenarioDockerfileOne, row, func(s sample) float64 { return float64(s.layer) })
	}
	over := w.seconds(scenarioDockerfileGo, rowSteps)
	over.value -= w.seconds(scenarioDockerfileGo, rowCompiler).value
	share := stored(rowOnto).over(stored(rowBuildkitD))
	share.value *= 100
	program := number{}
	if info, err := os.Stat(w.program); err == nil {
		program = number{mb(info.Size()), true}
	}
	return []target{
		atLeast(fasterBy(scenarioDockerfileOne, rowOnto), limitDockerfileOnto, "one file of the tree changed, `--onto`, faster than BuildKit"),
		atLeast(fasterBy(scenarioDockerfileOne, rowSteps), limitDockerfileSteps, "one file of the tree changed, faster than BuildKit"),
		atLeast(fasterBy(scenarioDockerfileSame, rowSteps), limitDockerfileSame, "nothing changed, faster than BuildKit"),
		atMost(over, limitDockerfileOver, "s", "a Go program, one file changed, beyond the compiler's own time"),
		atLeast(fasterBy(scenarioDockerfileGo, rowSteps), 1, "a Go program, one file changed, against BuildKit"),
		atLeast(fasterBy(scenarioDockerfileApt, rowSteps), 1, "apt, nothing cached, against BuildKit"),
		atMost(share, limitDockerfileStored, "%", "new bytes, one file of the tree changed, `--onto`, of BuildKit's"),
		atMost(w.peakMemory(scenarioDockerfileOne, scenarioDockerfileSame), limitDockerfileMemory, "MB", fmt.Sprintf("peak memory, tree of %d files, worst run", w.trees.files)),
		atMost(program, limitProgram, "MB", "the program's size"),
	}
}

// dockerfileSection is empty where nothing of it was measured.
func (w *world) dockerfileSection() string {
	var tables strings.Builder
	for _, t := range w.tables {
		if !ofDockerfile(t.title) || len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(&tables, "\n### %s\n\n", strings.TrimPrefix(t.title, "Dockerfile "))
		tables.WriteString(t.dockerfileMarkdown())
	}
	if tables.Len() == 0 {
		return ""
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("\n%s\n", dockerfileTitle)
	p("Written by `make bench BENCH_PARTS=dockerfile` on %s, on %s, with %s. A tree of %d files, %.0f MB. %d rounds, of the Go program %d; the file that changes gets bytes that nobody has seen; page cache warm.",
		time.Now().UTC().Format("2006-01-02"), w.machine(), strings.Join(unique(w.versions), "; "), w.trees.files, mb(w.trees.bytes), w.rounds, w.rounds*shortRuns)
	p("New bytes are those of the blobs that the image before does not have: they are stored, and a push sends them.\n")
	b.WriteString(targetRows(w.dockerfileTargets()))
	b.WriteString(tables.String())
	p("\n```text\n# Over the tree\n%s\n# A Go program\n%s\n# With apt\n%s```", treeDockerfile, goDockerfile, aptDockerfile)
	return b.String()
}

// dockerfileMarkdown is a table whose builders are compared with BuildKit.
func (t *table) dockerfileMarkdown() string {
	var b strings.Builder
	b.WriteString("| | median | min to max | faster than BuildKit | new bytes | peak memory |\n|---|---:|---:|---:|---:|---:|\n")
	for _, r := range t.rows {
		all := r.seconds()
		faster := ""
		if other := t.find(rowBuildkitD); other != nil && strings.HasPrefix(r.tool, rowOfVeneer) {
			faster = fmt.Sprintf("%.1f ×", median(other.seconds())/median(all))
		}
		stored := median(r.sorted(func(s sample) float64 { return float64(s.layer) / 1e3 }))
		text := ""
		if r.tool != rowCompiler {
			text = fmt.Sprintf("%.1f kB", stored)
		}
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f to %.2f | %s | %s | %s |\n", r.tool, median(all), all[0], all[len(all)-1], faster, text, r.memory())
	}
	return b.String()
}
