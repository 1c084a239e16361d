package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// commitRequestOf returns what the flags of commit ask for.
func commitRequestOf(t *testing.T, args ...string) (veneer.CommitRequest, error) {
	t.Helper()
	var f commitFlags
	cmd := &cobra.Command{}
	f.bind(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	var req veneer.CommitRequest
	err := f.request(&req)
	return req, err
}

func TestCommitRequest(t *testing.T) {
	for args, change := range map[string]func(*veneer.CommitRequest){
		"":                         func(*veneer.CommitRequest) {},
		"--pause=false":            func(r *veneer.CommitRequest) { r.NoPause = true },
		"--from app:1":             func(r *veneer.CommitRequest) { r.Base = "app:1" },
		"--from scratch":           func(r *veneer.CommitRequest) { r.Base = "scratch" },
		"--platform linux/arm64":   func(r *veneer.CommitRequest) { r.Platform = "linux/arm64" },
		"--compare metadata":       func(r *veneer.CommitRequest) { r.Compare = veneer.CompareMetadata },
		"--only /a --only /b/c":    func(r *veneer.CommitRequest) { r.Only = []string{"/a", "/b/c"} },
		"--exclude /tmp":           func(r *veneer.CommitRequest) { r.Exclude = []string{"tmp"} },
		"--exclude a --exclude !b": func(r *veneer.CommitRequest) { r.Exclude = []string{"a", "!b"} },
		"--exclude !/b":            func(r *veneer.CommitRequest) { r.Exclude = []string{"!b"} },
	} {
		var want veneer.CommitRequest
		want.Compare = veneer.CompareContent
		change(&want)
		if got, err := commitRequestOf(t, strings.Fields(args)...); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", args, err, got, want)
		}
	}
	for args, want := range map[string]string{
		"--from A:B":         "A",
		"--platform x/y/z/w": "--platform",
		"--only a":           "absolute",
		"--exclude [":        "--exclude",
		"--exclude /":        "--exclude",
	} {
		if _, err := commitRequestOf(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", args, err, want)
		}
	}
}

// TestCommitUsage: what the command line alone shows to be wrong, and what an engine without containers says.
func TestCommitUsage(t *testing.T) {
	isolate(t)
	for want, args := range map[string][]string{
		"at least 2 arg":     {"commit", "web"},
		"CONTAINER is empty": {"commit", "", "name:1"},
		"lower":              {"commit", "web", "NAME:1"},
		"neither":            {"commit", "--quiet", "--format", "json", "web", "name:1"},
	} {
		code, _, stderr := veneerRun(t.Context(), args...)
		if code != exitUsage || !strings.Contains(stderr, want) && want != "neither" {
			t.Errorf("%q: exit code %d: %s, want %q", args, code, stderr, want)
		}
	}
	code, _, stderr := veneerRun(t.Context(), "commit", "web", "name:1")
	if code != exitError || !strings.Contains(stderr, "runs no containers") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
