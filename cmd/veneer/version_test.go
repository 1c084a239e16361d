package main

import "testing"

// TestVersionFlag: it prints the version whatever else the line has, as long as its flags are known.
func TestVersionFlag(t *testing.T) {
	want := "veneer " + versionOf().Version + "\n"
	for _, args := range [][]string{{"--version"}, {"-v"}, {"--version", "nothing"}, {"--engine", "embedded", "--version"}} {
		if out, errOut := ok(t, args...); out != want || errOut != "" {
			t.Errorf("%q: %q, %q", args, out, errOut)
		}
	}
	if code, _, _ := veneerRun(t.Context(), "--version", "--nothing"); code != exitUsage {
		t.Errorf("an unknown flag: exit code %d", code)
	}
}
