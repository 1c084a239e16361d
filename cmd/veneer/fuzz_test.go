package main

import (
	"encoding/csv"
	"reflect"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

// FuzzLongForm: each value that a target is written with is the one that is read, or the target is refused.
func FuzzLongForm(f *testing.F) {
	f.Add("a", "/b", "", "", "", "", "")
	f.Add("./a,b", "/c d", "1:2", "u+rwX,go=", "*.log", "x\"y", "tar")
	f.Add("-", "x", "name", "0755", "[", "\r\n", "tar")
	f.Add("{{.OS}}/x", " /", "a b", "u=g", "!x", ".dockerignore", "dir")
	f.Fuzz(func(t *testing.T, src, dest, chown, chmod, exclude, ignore, typ string) {
		want := veneer.TargetSpec{Op: veneer.OpSync, Source: src, Dest: dest, Chown: chown, Chmod: chmod, IgnoreFile: ignore, Type: typ}
		fields := []string{"src=" + src, "dest=" + dest}
		if exclude != "" {
			want.Exclude = []string{exclude}
		}
		for _, field := range [][2]string{{"chown", chown}, {"chmod", chmod}, {"exclude", exclude}, {"ignorefile", ignore}, {"type", typ}} {
			if field[1] != "" {
				fields = append(fields, field[0]+"="+field[1])
			}
		}
		var text strings.Builder
		w := csv.NewWriter(&text)
		if err := w.Write(fields); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		got, err := parseTarget(veneer.OpSync, text.String())
		if err != nil || strings.Contains(text.String(), "\r\n") {
			return // CSV makes a line feed of it.
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, want %+v", text.String(), got, want)
		}
	})
}

// FuzzShortForm: what is written as SRC:DEST is read so, wherever it has no colon before a slash to be parted at.
func FuzzShortForm(f *testing.F) {
	f.Add("a", "/b")
	f.Add("c:/x", "y")
	f.Add("src=a,dest=b", "/c")
	f.Add("a=b", "c")
	f.Fuzz(func(t *testing.T, src, dest string) {
		text := src + ":" + dest
		got, err := parseTarget(veneer.OpCopy, text)
		if err != nil || isLongForm(text) {
			return
		}
		if got.Source+":"+got.Dest != text {
			t.Errorf("%q is %q and %q", text, got.Source, got.Dest)
		}
		plain := !strings.Contains(dest, ":") && (strings.HasPrefix(dest, "/") || !strings.Contains(text, ":/"))
		if plain && (got.Source != src || got.Dest != dest) {
			t.Errorf("%q is %q to %q", text, got.Source, got.Dest)
		}
	})
}
