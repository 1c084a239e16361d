package main

import (
	"fmt"
	"strings"
	"time"
)

// What the verbs are to reach.
const (
	limitVerbFaster = 3.0 // times faster than ctr and nerdctl
	limitVerbFloor  = 1.5 // over the floor
	limitVerbSmall  = 1.0 // ten layers of few files, over ctr
	limitVerbMemory = 150 // MB
)

// verbsTitle heads what is said of verbs.
const verbsTitle = "## Load, pull, push, save, squash, delta and verify"

// rowOfVeneer starts Veneer's rows.
const rowOfVeneer = "**veneer"

// verbPrefix starts the titles of the verbs' tables.
const verbPrefix = "Verb "

func ofVerb(title string) bool { return strings.HasPrefix(title, verbPrefix) }

// verbTitle is that of the table of what is done with an image.
func verbTitle(verb string, img *verbImage) string {
	return fmt.Sprintf("%s%s: %s", verbPrefix, verb, img.about)
}

// verbAlone is what is said, by verb, of tools that cannot do it.
var verbAlone = map[string]string{
	"save":   "crane writes archives of what is in a registry: that is under `pull`",
	"squash": "ctr, nerdctl and skopeo cannot",
	"delta":  "ctr, nerdctl, skopeo and crane cannot; umoci's `repack` of a whole tree is under [Rebuild](#rebuild-for-the-second-state)",
	"verify": "ctr, nerdctl and skopeo cannot, nor crane snapshots",
}

func (w *world) verbTargets() []target {
	var targets []target
	add := func(t target) { targets = append(targets, t) }
	load, pull := func(about string) string { return verbPrefix + "load: " + about }, func(about string) string { return verbPrefix + "pull: " + about }
	for _, about := range []string{aboutTree, aboutTen} {
		for _, one := range []struct {
			title, veneer, floor string
			peers                []string
		}{
			{load(about), rowVerbLoad, rowUnpackFloor, []string{rowCtrImport, rowNerdctlLoad}},
			{pull(about), rowVerbPull, rowPullFloor, []string{rowCtrPull, rowNerdctlPull}},
		} {
			what := strings.TrimPrefix(one.title, verbPrefix)
			own := w.seconds(one.title, one.veneer)
			for _, peer := range one.peers {
				add(atLeast(w.seconds(one.title, peer).over(own), limitVerbFaster, what+", faster than "+peer))
			}
			add(atMost(own.over(w.seconds(one.title, one.floor)), limitVerbFloor, "×", what+", over the floor"))
		}
	}
	add(atMost(w.seconds(load(aboutSmall), rowVerbLoad).over(w.seconds(load(aboutSmall), rowCtrImport)), limitVerbSmall, "×", "load: "+aboutSmall+", over "+rowCtrImport))
	add(atMost(w.seconds(pull(aboutSmall), rowVerbPull).over(w.seconds(pull(aboutSmall), rowCtrPull)), limitVerbSmall, "×", "pull: "+aboutSmall+", over "+rowCtrPull))
	add(atMost(w.peakMemory(load(aboutTree), load(aboutTen), pull(aboutTree), pull(aboutTen)), limitVerbMemory, "MB", "load and pull, peak memory, worst run"))
	return targets
}

// verbsSection is empty where nothing of it was measured.
func (w *world) verbsSection() string {
	var tables strings.Builder
	for _, t := range w.tables {
		if ofVerb(t.title) && len(t.rows) > 0 {
			fmt.Fprintf(&tables, "\n### %s\n\n", strings.TrimPrefix(t.title, verbPrefix))
			tables.WriteString(t.verbMarkdown())
		}
	}
	if tables.Len() == 0 {
		return ""
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("\n%s\n", verbsTitle)
	p("Written by `make bench BENCH_PARTS=verbs` on %s, on %s, with %s. Medians of %d rounds, of which each runs what is small %d times; page cache warm. The tree has %d files, %.0f MB; the layers are gzip.",
		time.Now().UTC().Format("2006-01-02"), w.machine(), strings.Join(unique(w.versions), "; "), w.rounds, shortRuns, w.trees.files, mb(w.trees.bytes))
	p("What `load` and `pull` bring is unpacked, with overlayfs; nothing of it, nor of its layers, was there before, and Veneer remembers nothing. The")
	p("archives and layouts are on the same disk, the registry on the same machine; each `push` goes to a registry that holds nothing. Veneer and the")
	p("floor end when the files are on the disk; ctr, without `--sync-fs`, and nerdctl leave that to the kernel. Stored are blobs and snapshots of what was brought, the")
	p("registry's files, the archive, or the new layer. `commit` is under [Rebuild](#rebuild-for-the-second-state) and [Nothing changed](#nothing-changed).")
	for _, note := range w.notes {
		if strings.HasPrefix(note, "SKIP: verbs") {
			p("- %s", note)
		}
	}
	p("")
	b.WriteString(targetRows(w.verbTargets()))
	b.WriteString(tables.String())
	p("\n```text\n%s\n```", strings.TrimSpace(verbCommands))
	return b.String()
}

// verbMarkdown is a table in which tools are compared with the last row of Veneer, and with the floor.
func (t *table) verbMarkdown() string {
	var own, floor float64
	for _, r := range t.rows {
		switch {
		case strings.HasPrefix(r.tool, "floor"):
			floor = median(r.seconds())
		case strings.HasPrefix(r.tool, rowOfVeneer):
			own = median(r.seconds())
		}
	}
	var b strings.Builder
	b.WriteString("| | median | min to max | ÷ **veneer** | ÷ floor | stored | peak memory |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range t.rows {
		all := r.seconds()
		mid := median(all)
		slower, above := "", ""
		whole := !strings.HasPrefix(r.tool, "floor") && r.tool != rowDownload
		if whole && !strings.HasPrefix(r.tool, rowOfVeneer) {
			slower = fmt.Sprintf("%.2f", mid/own)
		}
		if whole && floor > 0 {
			above = fmt.Sprintf("%.2f", mid/floor)
		}
		stored := median(r.sorted(func(s sample) float64 { return mb(s.layer) }))
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f to %.2f | %s | %s | %s | %s |\n", r.tool, mid, all[0], all[len(all)-1], slower, above, megabytes(stored), r.memory())
	}
	verb, _, _ := strings.Cut(strings.TrimPrefix(t.title, verbPrefix), ":")
	if text := verbAlone[verb]; text != "" {
		fmt.Fprintf(&b, "| %s | | | | | | |\n", text)
	}
	return b.String()
}

const verbCommands = `
for layer in LAYERS; do tar -xzf $layer -C DIR; done; sync -f DIR      # the floor
veneer load A.tar; ctr images import A.tar; nerdctl load -i A.tar
veneer pull --plain-http R; ctr images pull --plain-http R; nerdctl pull --insecure-registry R; crane pull --insecure --format=oci R DIR
veneer push --plain-http R; ctr images push --plain-http R; nerdctl push --insecure-registry R
skopeo copy --dest-tls-verify=false oci:DIR docker://R; crane push --insecure DIR R
veneer save I -o A.tar; ctr images export A.tar I; nerdctl save -o A.tar I; skopeo copy oci:DIR oci-archive:A.tar
veneer squash I --onto FIRST -t J; veneer delta scratch I -t J; crane flatten --insecure -t S R
veneer delta I FULL -t J
veneer verify I; veneer verify --plain-http docker://R; crane validate --insecure --remote R
`
