package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer"
)

// differs is a difference with all that there is to show.
func differs(t *testing.T) *veneer.DiffResult {
	t.Helper()
	res := &veneer.DiffResult{Base: "docker.io/library/app:1", Layer: 1_234_567, UncompressedLayer: 3_456_789}
	add := func(kind, path string, bytes int64, reason string, files, removed int64) {
		c := veneer.PathChange{Path: path, Bytes: bytes, RemovedFiles: files, RemovedBytes: removed}
		setKind(&c.Kind, kind)
		setReason(&c.Reason, reason)
		res.Changes = append(res.Changes, c)
		tally := map[string]*int64{"A": &res.Summary.Added.Count, "M": &res.Summary.Modified.Count, "D": &res.Summary.Deleted.Count}
		*tally[kind]++
		if kind == "A" {
			res.Summary.Added.Bytes += bytes
		} else {
			res.Summary.Modified.Bytes += bytes
		}
		res.Removed.Count += files
		res.Removed.Bytes += removed
	}
	add("D", "/etc/motd", 0, "absent", 1, 286)
	add("M", "/etc/passwd", 839, "content", 0, 0)
	add("A", "/etc/\x1b[31mred\nline", 12, "new", 0, 0)
	add("D", "/opt/old", 0, "absent", 3000, 987_654_321)
	add("A", "/srv", 0, "new", 0, 0)
	add("M", "/usr/bin/sh", 125_640, "mode", 0, 0)
	add("A", "/usr/lib/python3.13/site-packages/a_package_with_a_long_name/and_a_module_with_a_longer_one.py", 2_345_678, "new", 0, 0)
	add("A", "/usr/share/文書/日本語のファイル", 4096, "new", 0, 0)
	for i := range 30 {
		add("A", fmt.Sprintf("/var/lib/app/%02d/data", i), int64(i), "new", 0, 0)
	}
	res.Summary.MetadataOnly.Count, res.Summary.MetadataOnly.Bytes = 1, 125_640
	return res
}

// setKind and setReason set values whose types only the library names.
func setKind[K ~uint8](k *K, letter string) { *k = K(strings.Index("AMD", letter)) }

func setReason[R ~string](r *R, text string) { *r = R(text) }

func shown(write func(*strings.Builder, *veneer.DiffResult), res *veneer.DiffResult) string {
	var b strings.Builder
	write(&b, res)
	return b.String()
}

// TestDiffViews compares what people are shown, at several widths, with
// testdata/diff. -update writes these files.
func TestDiffViews(t *testing.T) {
	res := differs(t)
	for _, size := range []struct{ width, height int }{{0, 0}, {40, 20}, {80, 24}, {200, 50}} {
		v := diffView{to: "docker.io/library/app:2", width: size.width, height: size.height}
		for name, write := range map[string]func(*strings.Builder, *veneer.DiffResult){"summary": v.summary, "stat": v.stat, "tree": v.tree, "name-only": v.names} {
			text := shown(write, res)
			file := fmt.Sprintf("diff/%s-%d.txt", name, size.width)
			golden(t, file, text)
			lines := strings.Split(text, "\n")
			if name == "summary" && size.height > 0 && len(lines) > size.height {
				t.Errorf("%s: %d lines on a terminal of %d", file, len(lines), size.height)
			}
			for _, line := range lines {
				if name == "stat" && strings.Contains(line, " | ") && size.width > 0 && runewidth.StringWidth(line) > size.width {
					t.Errorf("%s: longer than the terminal: %q", file, line)
				}
			}
			plain := v
			plain.color = true
			colored := shown(map[string]func(*strings.Builder, *veneer.DiffResult){"summary": plain.summary, "stat": plain.stat, "tree": plain.tree, "name-only": plain.names}[name], res)
			if bare := regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(colored, ""); bare != text || name != "name-only" && bare == colored {
				t.Errorf("%s: with colours it is another text:\n%s", file, bare)
			}
		}
	}
}

// TestDiffGreppable: without a terminal there is a line for each path with its exact
// bytes, and with --bytes all sizes are exact.
func TestDiffGreppable(t *testing.T) {
	v := diffView{to: "b"}
	text := shown(v.summary, differs(t))
	if n := len(regexp.MustCompile(`(?m)^[AMD] ("[^\n]*"|/\S*)  \d+  \w+`).FindAllString(text, -1)); n != 38 {
		t.Errorf("%d lines of paths:\n%s", n, text)
	}
	v.exact = true
	if text := shown(v.summary, differs(t)); strings.Contains(text, "MB") || !strings.Contains(text, "(3001 files, 987654607)") {
		t.Errorf("--bytes:\n%s", text)
	}
}

// TestDirRows: whatever changes, the rows are as few as asked for, none is twice
// there, and together they have all of it.
func TestDirRows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var changes []veneer.PathChange
		var want dirTotal
		for range rapid.IntRange(1, 60).Draw(r, "changes") {
			c := veneer.PathChange{Path: "/" + strings.Join(rapid.SliceOfN(rapid.StringMatching("[a-c]"), 1, 6).Draw(r, "path"), "/")}
			kind := rapid.SampledFrom([]string{"A", "M", "D"}).Draw(r, "kind")
			setKind(&c.Kind, kind)
			c.Bytes, c.RemovedFiles = rapid.Int64Range(0, 9).Draw(r, "bytes"), rapid.Int64Range(0, 3).Draw(r, "files")
			c.RemovedBytes = c.RemovedFiles * 5
			changes = append(changes, c)
			want.weigh(&c)
		}
		limit := rapid.IntRange(3, 12).Draw(r, "limit")
		rows := dirRows(changes, limit)
		var got dirTotal
		seen := map[string]bool{}
		for i, row := range rows {
			got.add(&row)
			if seen[row.name()] {
				r.Errorf("%s is twice there", row.name())
			}
			seen[row.name()] = true
			if i > 0 && row.others == 0 && row.bytes+row.removed > rows[i-1].bytes+rows[i-1].removed {
				r.Errorf("row %d has more bytes than the one before", i)
			}
		}
		if got != want || len(rows) > limit {
			r.Errorf("%d rows of %d: %+v, want %+v", len(rows), limit, got, want)
		}
	})
}

func TestPagerChoice(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"PAGER": "more"}, "more"},
		{map[string]string{"PAGER": "more", "VENEER_PAGER": "most -s"}, "most -s"},
		{map[string]string{"PAGER": "more", "VENEER_PAGER": ""}, ""},
		{map[string]string{"PAGER": "cat"}, ""},
		{map[string]string{"TERM": "dumb"}, ""},
	} {
		a := newApp(streams{}, func(k string) (string, bool) { v, ok := c.env[k]; return v, ok })
		if got := a.pager(); got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
	if env := pagerEnv([]string{"LESS=-S"}); len(env) != 2 || env[0] != "LESS=-S" {
		t.Errorf("%q", env)
	}
}

// BenchmarkDiffViews: ten thousand lines.
func BenchmarkDiffViews(b *testing.B) {
	res := &veneer.DiffResult{Base: "a"}
	for i := range 10_000 {
		res.Changes = append(res.Changes, veneer.PathChange{Path: fmt.Sprintf("/usr/lib/%d/%d/file", i%100, i), Bytes: int64(i)})
	}
	v := diffView{to: "b", color: true}
	for name, write := range map[string]func(*strings.Builder, *veneer.DiffResult){"summary": v.summary, "stat": v.stat, "tree": v.tree} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				shown(write, res)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/view")
		})
	}
}
