package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

func TestVerify(t *testing.T) {
	_, id := buildApp(t)
	out, messages := ok(t, "verify", "app:1", "--progress", "quiet")
	if !strings.HasPrefix(out, "docker.io/library/app:1: 1 platform, 3 blobs, ") || !strings.HasSuffix(out, "; 0 errors, 0 warnings\n") || messages != "" {
		t.Errorf("verify: %q, %q", out, messages)
	}
	var res veneer.VerifyResult
	out, _ = ok(t, "verify", "--format", "json", "app:1")
	if err := json.Unmarshal([]byte(out), &res); err != nil || res.Target.Digest.String() != id || res.Findings == nil || len(res.Platforms) != 1 || res.Platforms[0].Layers != 1 {
		t.Errorf("verify: %s, %v", out, err)
	}
	if out, _ := ok(t, "verify", "--same-rootfs", "app:1", id, "--times"); !strings.Contains(out, "show the same 4 files\n") {
		t.Errorf("verify --same-rootfs: %q", out)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/ash\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "app:1", "--sync", dir+":/app", "-t", "app:2", "--no-unpack")
	code, out, errOut := veneerRun(t.Context(), "verify", "--same-rootfs", "app:1", "app:2", "--progress", "quiet")
	if code != exitError || !strings.Contains(out, `"/app/odd\x1b[31m\nname"  missing`+"\n") || !strings.Contains(out, "/app/run  size  10  11\n") {
		t.Errorf("differences: %d, %q, %q", code, out, errOut)
	}
}

func TestVerifyUsage(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"verify"},
		{"verify", "a", "b"},
		{"verify", "--same-rootfs", "a"},
		{"verify", "--same-rootfs", "--repair", "a", "b"},
		{"verify", "--times", "a"},
		{"verify", "--platform", "linux/amd64/a/b/c", "a"},
		{"build", "--from", "a", "--platform", "linux/amd64,"},
		{"build", "--from", "a", "--platform", "linux/amd64,all"},
		{"build", "--from", "a", "--platform", "linux/amd64,a/b/c/d/e"},
		{"diff", "--from", "a", "--platform", "all"},
		{"build", "--from", "a", "--copy", "bin/{{.Os}}:/bin/"},
		{"build", "--from", "a", "--copy", "src=bin/{{,dest=/bin/"},
	} {
		if code, out, errOut := veneerRun(t.Context(), args...); code != exitUsage || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out, errOut)
		}
	}
	if code, _, errOut := veneerRun(t.Context(), "verify", "absent"); code != exitError {
		t.Errorf("an image that is not there: exit code %d, %s", code, errOut)
	}
}

// TestBuildPlatforms: each platform gets the files that its name is in the path of.
func TestBuildPlatforms(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	for _, p := range []string{"linux-amd64", "linux-armv6", "linux-arm64"} {
		if err := os.WriteFile(filepath.Join(dir, p), []byte(p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, messages := ok(t, "build", "--from", "scratch", "--platform", "linux/amd64, linux/arm/v6,linux/arm64/v8", "--no-unpack", "--format", "json",
		"--copy", dir+"/{{.OS}}-{{.Arch}}{{.Variant}}:/app", "-t", "app:1", "--progress", "plain")
	var res veneer.Result
	if err := json.Unmarshal([]byte(text), &res); err != nil || len(res.Manifests) != 3 || res.Manifests[1].Platform != "linux/arm/v6" {
		t.Fatalf("result %s, %v", text, err)
	}
	for _, want := range []string{"compare linux/arm/v6: ", "\nlinux/arm64", res.Manifests[0].Layer.Digest.String(), "1 added, 0 modified"} {
		if !strings.Contains(messages, want) {
			t.Errorf("no %q in %s", want, messages)
		}
	}
	var sum float64
	for _, s := range res.Steps {
		sum += s.Seconds
	}
	if !slices.ContainsFunc(res.Steps, func(s veneer.StepDuration) bool { return s.Name == "record linux/amd64" }) || sum > 1.01*res.Seconds || sum < 0.9*res.Seconds {
		t.Errorf("steps of %f s in %f s: %+v", sum, res.Seconds, res.Steps)
	}
	for _, p := range []string{"linux/amd64", "linux/arm/v6", "linux/arm64"} {
		if out, _ := ok(t, "history", "--platform", p, "app:1"); !strings.Contains(out, "COPY /app") {
			t.Errorf("history of %s: %s", p, out)
		}
	}
	if out, _ := ok(t, "verify", "app:1"); !strings.HasPrefix(out, "docker.io/library/app:1: 3 platforms, 10 blobs, ") {
		t.Errorf("verify: %s", out)
	}
}
