package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	files := []file{{"a", 4}, {"b", 1}, {"c", 5}, {"d", 9}, {"e", 1}}
	got := split(files, 2)
	if len(got) != 2 || total(got[0]) != 10 || total(got[1]) != 10 {
		t.Errorf("groups of %v: %v", files, got)
	}
	if all := slices.Concat(got...); !slices.Equal(all, files) {
		t.Errorf("the groups of %v have %v", files, all)
	}
}

func TestMembers(t *testing.T) {
	got := strings.Split(members([]file{{path: "a/b/c"}, {path: "a/d"}, {path: "e"}}), "\x00")
	want := []string{".", "./a", "./a/b", "./a/b/c", "./a/d", "./e", ""}
	if !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
}
