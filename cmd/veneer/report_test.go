package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	dir, _ := buildApp(t)
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/bash\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "app:1", "--sync", dir+":/app", "-t", "app:2", "--no-unpack")
	out := filepath.Join(t.TempDir(), "report.html")
	if stdout, _ := ok(t, "report", "app:2", "--against", "app:1", "-o", out); stdout != "" {
		t.Errorf("standard output: %q", stdout)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"docker.io/library/app:2 against docker.io/library/app:1", "Shared with docker.io/library/app:1", `/app/odd\x1b[31m\nname`, "/app/two words"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if again, _ := ok(t, "report", "app:2", "--against", "app:1", "-o", "-"); again != string(text) {
		t.Error("standard output has another page")
	}
	// What is in no engine is read the same way.
	archive := filepath.Join(t.TempDir(), "app.tar")
	ok(t, "save", "app:2", "-o", archive)
	for _, against := range []string{"archive:" + archive, "app:1"} {
		if page, _ := ok(t, "report", "archive:"+archive, "--against", against, "-o", "-"); !strings.Contains(page, "/app/two words") {
			t.Errorf("against %s: the page has no files", against)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, errOut := ok(t, "report", "app:1", "-o", out, "--open"); !strings.Contains(errOut, "the page is "+out) {
		t.Errorf("--open without xdg-open: %q", errOut)
	}
}

// TestReportOpens: a browser gets the page's whole path, when the page is there.
func TestReportOpens(t *testing.T) {
	buildApp(t)
	bin, seen := t.TempDir(), filepath.Join(t.TempDir(), "seen")
	script := "#!/bin/sh\n[ $# = 1 ] && [ -s \"$1\" ] && printf %s \"$1\" >" + seen + "\n"
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Chdir(t.TempDir())
	ok(t, "report", "app:1", "-o", "-x.html", "--open")
	if got, err := os.ReadFile(seen); err != nil || !filepath.IsAbs(string(got)) || filepath.Base(string(got)) != "-x.html" {
		t.Errorf("opened %q, %v", got, err)
	}
}

// TestReportFull: that a page cannot be written is said once.
func TestReportFull(t *testing.T) {
	buildApp(t)
	code, _, errOut := veneerRun(t.Context(), "report", "app:1", "-o", "/dev/full", "--progress", "quiet")
	if code != exitError || strings.Count(errOut, "/dev/full") != 1 || strings.Count(errOut, "write") != 1 {
		t.Errorf("%d, %q", code, errOut)
	}
}

// TestReportFails: a file that was there stays as it was.
func TestReportFails(t *testing.T) {
	isolate(t)
	out := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := veneerRun(t.Context(), "report", "absent", "-o", out); code != exitError {
		t.Errorf("exit code %d", code)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, _, errOut := veneerRun(t.Context(), "report", "a", "--against", "docker://localhost/b", "-o", out); !strings.Contains(errOut, "pull localhost/b") {
		t.Errorf("which image to pull: %s", errOut)
	}
	for _, args := range [][]string{
		{"app:1"},
		{"app:1", "-o", "-", "--open"},
		{"-o", out},
		{"a", "b", "-o", out},
		{"a", "--against", "Bad Name", "-o", out},
		{"a", "--against", "docker://localhost/b", "-o", out},
	} {
		if code, _, errOut := veneerRun(t.Context(), append([]string{"report"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}
