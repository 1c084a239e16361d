package differential_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/trees"
)

// compare builds a task with BuildKit and the embedded engine, and with all if so asked, and says what differs from
// BuildKit's. It returns BuildKit's.
func (p *peers) compare(t *testing.T, k task, all bool) (want made, problems []string) {
	t.Helper()
	want = p.builders[0].make(t, k, p.began)
	others := p.builders[1:2]
	if all {
		others = p.builders[1:]
	}
	for _, b := range others {
		got := b.make(t, k, p.began)
		for _, text := range differences(want, got) {
			problems = append(problems, b.name+": "+text)
		}
		if got.err == nil {
			problems = append(problems, b.onto(t, k, got, p)...)
			b.below = got.name
		}
	}
	return want, problems
}

// differences are those between what two builders made.
func differences(want, got made) (out []string) {
	if (want.err == nil) != (got.err == nil) {
		return []string{fmt.Sprintf("error %v, and BuildKit's is %v", got.err, want.err)}
	}
	if want.err != nil {
		return nil
	}
	for _, d := range trees.Diff(want.files, asBuildKitLoses(got.files, want.files)) {
		out = append(out, "files: "+d)
	}
	w, g := plain(want.config), plain(got.config)
	if w != g {
		out = append(out, fmt.Sprintf("config\n\twant %s\n\tgot  %s", w, g))
	}
	out = append(out, historyDifferences(want, got)...)
	if w, g := sorted(want.warned), sorted(ofBoth(got.warned)); !slices.Equal(w, g) {
		out = append(out, fmt.Sprintf("warnings\n\twant %q\n\tgot  %q", w, g))
	}
	return out
}

// lost is what BuildKit's layers do not hold of a file that a RUN changed: extended attributes but for
// security.capability (containerd's archive writer), and that it is another name of one that it takes for unchanged.
var lost = regexp.MustCompile(` user\.\S+=\S+| same=\[[^\]]*\]`)

// asBuildKitLoses are Veneer's files, but for where BuildKit's have less for the reasons of lost, and nothing else is
// different.
func asBuildKitLoses(got, want map[string]string) map[string]string {
	got = maps.Clone(got)
	for name, w := range want {
		if g := got[name]; len(w) < len(g) && lost.ReplaceAllString(g, "") == lost.ReplaceAllString(w, "") {
			got[name] = w
		}
	}
	return got
}

// plain is the config without what is of the layers.
func plain(c ocispec.Image) string {
	c.RootFS, c.History, c.Created = ocispec.RootFS{}, nil, nil
	slices.Sort(c.Config.Env) // The frontend's order is the same, but for equal names.
	data, _ := json.MarshalIndent(c, "\t", " ")
	return string(data)
}

// historyDifferences: the same commands and comments, and a layer for each entry that is not marked as empty. A step
// that changed nothing has no layer with Veneer.
func historyDifferences(want, got made) (out []string) {
	w, g := want.config.History, got.config.History
	if len(w) != len(g) {
		return []string{fmt.Sprintf("history\n\twant %q\n\tgot  %q", commands(w), commands(g))}
	}
	full := 0
	for i := range w {
		if w[i].CreatedBy != g[i].CreatedBy || w[i].Comment != g[i].Comment || w[i].Author != g[i].Author {
			out = append(out, fmt.Sprintf("history: entry %d is %+v, and BuildKit's is %+v", i, g[i], w[i]))
		}
		if w[i].EmptyLayer && !g[i].EmptyLayer {
			out = append(out, fmt.Sprintf("history: %q has a layer", g[i].CreatedBy))
		}
		if !g[i].EmptyLayer {
			full++
		}
	}
	if full != got.layers {
		out = append(out, fmt.Sprintf("history: %d entries with a layer, and there are %d layers", full, got.layers))
	}
	return out
}

func commands(h []ocispec.History) (out []string) {
	for _, e := range h {
		out = append(out, e.CreatedBy)
	}
	return out
}

// ofBoth leaves out what only Veneer warns of.
func ofBoth(warned []string) (out []string) {
	for _, text := range warned {
		if !slices.ContainsFunc(ownWarnings, func(own string) bool { return strings.Contains(text, own) }) {
			out = append(out, text)
		}
	}
	return out
}

// ownWarnings are parts of what Veneer tells beyond BuildKit's frontend.
var ownWarnings = []string{
	"CNI", "/ itself", "owner of copied files", "# syntax=",
}
