package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// deltasTitle heads what is said of deltas below the file.
const deltasTitle = "## Deltas below the file"

const (
	limitMakeMemory  = 200 // MB of anonymous memory
	limitApplyMemory = 40  // MB resident
	limitApplyTime   = 2.0 // over the writing of the layer's files
	limitPeerBytes   = 1.0 // of tar-diff's
)

// deltasSection is empty where nothing of it was measured.
func (w *world) deltasSection() string {
	if len(w.deltas.pairs) == 0 {
		return ""
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("\n%s\n", deltasTitle)
	p("Written by `make bench BENCH_PARTS=deltas` with BENCH_FILES=%d on %s, on %s, with %s. One round: bytes are exact, times are not.\n",
		w.files, time.Now().UTC().Format("2006-01-02"), w.machine(), strings.Join(unique(w.versions), "; "))
	p("A host has an image and gets the next one. Veneer makes a delta of the layer against the older image's files (`save --since --delta`),")
	p("and `load` makes the layer of it, compresses it to the very blob that it was, stores and unpacks it. The other tools make a delta of")
	p("the layer's tar and that of the older image's, and from it the tar, no more. tar-diff gets the layers as they are stored, as oci-delta")
	p("gives it them, and decompresses them itself, as Veneer does. Memory of Veneer is the peak of anonymous pages, and after")
	p("the stroke all that was resident; of the others what was resident. Delta is what travels for the layer; archives have some kB beside it.")
	for _, note := range w.notes {
		p("- %s", note)
	}
	p("")
	b.WriteString(targetRows(w.deltaTargets()))
	for _, pair := range w.deltas.pairs {
		p("\n### %s", pair.name)
		p("\n%s. Its layer: %s, its tar %s. Writing the layer's files takes %.2f s, and `load` of an archive that has the layer %.2f s and %.0f MB. On a host that keeps no blobs, `load` of the delta takes %.2f s, %.2f s of CPU and %.0f MB.\n",
			pair.about, bytesText(pair.layer), bytesText(pair.tar), pair.floor.seconds, pair.plain.seconds, mb(pair.plain.anon), pair.bare.seconds, pair.bare.cpu, mb(pair.bare.anon))
		b.WriteString(pair.markdown())
	}
	if len(w.deltas.fleet) > 1 {
		p("\n### Fleet\n\n%d machines as above, which hold v1 (Debian and the npm tree's first release in /app) and get v2, by one way after another.\n", fleetNodes)
		b.WriteString(fleetRows(w.deltas.fleet))
	}
	p("\n```text\n$1 the older tar, $2 the new one, $3 the delta, $4 the tar made again, $5 the older tar's files, $6 its size,\n$7 and $8 the layers as they are stored")
	for _, peer := range deltaPeers {
		p("%s\n  %s\n  %s", peer.name, peer.make, peer.apply)
	}
	p("```")
	return b.String()
}

// markdown is a pair's table.
func (p *deltaPair) markdown() string {
	var b strings.Builder
	b.WriteString("| | delta | layer ÷ this | make: time | CPU | memory | apply: time | CPU | memory |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range p.runs {
		fmt.Fprintf(&b, "| %s | %s | %.1f | %.1f s | %.1f s | %s | %.2f s | %.2f s | %s |\n", r.tool, bytesText(r.bytes),
			float64(p.layer)/float64(r.bytes), r.make.seconds, r.make.cpu, r.make.memoryText(), r.apply.seconds, r.apply.cpu, r.apply.memoryText())
	}
	return b.String()
}

func (s sample) memoryText() string {
	if s.anon == 0 {
		return fmt.Sprintf("%.0f MB", mb(s.rss))
	}
	return fmt.Sprintf("%.0f / %.0f MB", mb(s.anon), mb(s.rss))
}

func bytesText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f MB", mb(n))
}

// deltaTargets are what deltas are to reach, each the worst of the pairs.
func (w *world) deltaTargets() []target {
	ratio := func(name string) number {
		for _, p := range w.deltas.pairs {
			if p.name == name {
				return number{float64(p.layer) / float64(p.runs[0].bytes), true}
			}
		}
		return number{}
	}
	worst := func(of func(*deltaPair) number) (n number) {
		for _, p := range w.deltas.pairs {
			if one := of(p); one.ok {
				n = number{max(n.value, one.value), true}
			}
		}
		return n
	}
	only := func(of func(*deltaPair) number, names ...string) func(*deltaPair) number {
		return func(p *deltaPair) number {
			if !slices.Contains(names, p.name) {
				return number{}
			}
			return of(p)
		}
	}
	against := func(tool string, what func(deltaRun) float64) func(*deltaPair) number {
		return func(p *deltaPair) number {
			for _, r := range p.runs {
				if strings.HasPrefix(r.tool, tool) {
					return number{what(p.runs[0]) / what(r), true}
				}
			}
			return number{}
		}
	}
	bytes := func(r deltaRun) float64 { return float64(r.bytes) }
	makeCPU := func(r deltaRun) float64 { return r.make.cpu }
	apply := func(p *deltaPair) number {
		return number{p.runs[0].apply.seconds / p.floor.seconds, p.floor.seconds > 0}
	}
	bare := func(p *deltaPair) number {
		return number{p.bare.seconds / p.floor.seconds, p.floor.seconds > 0}
	}
	return []target{
		atLeast(ratio("npm tree"), 15, "npm tree, layer over delta"),
		atLeast(ratio("Debian, security updates"), 7, "Debian, layer of security updates over delta"),
		atLeast(ratio("Go program"), 10, "Go program, layer over delta"),
		atMost(worst(against("tar-diff", bytes)), limitPeerBytes, "×", "delta over tar-diff's, worst pair"),
		atMost(worst(only(against("tar-diff", bytes), "npm tree")), 0.5, "×", "npm tree, delta over tar-diff's"),
		atMost(worst(only(against("tar-diff", bytes), "sqlite")), 0.01, "×", "sqlite, delta over tar-diff's"),
		atMost(worst(against("xdelta3", bytes)), 1.05, "×", "delta over xdelta3's, worst pair"),
		atMost(worst(against("tar-diff", makeCPU)), 0.5, "×", "making, CPU over tar-diff's, worst pair"),
		atMost(worst(against("xdelta3", makeCPU)), 1.5, "×", "making, CPU over xdelta3's, worst pair"),
		atMost(worst(only(against("xdelta3", makeCPU), "npm tree", "Debian, security updates", "Debian, thin layer", "Debian, whole layer")), 0.5, "×", "making, CPU over xdelta3's, worst tree"),
		atMost(worst(func(p *deltaPair) number { return number{mb(p.runs[0].make.anon), true} }), limitMakeMemory, "MB", "making, anonymous memory, worst pair"),
		atMost(worst(func(p *deltaPair) number { return number{mb(p.runs[0].apply.rss), true} }), limitApplyMemory, "MB", "applying with all that `load` does, resident memory, worst pair"),
		atMost(worst(apply), limitApplyTime, "×", "applying with all that `load` does, time over writing the layer's files, worst pair"),
		atMost(worst(bare), limitApplyTime, "×", "the same on a host that keeps no blobs"),
	}
}
