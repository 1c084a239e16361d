package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
)

// ok runs the program and fails the test unless it succeeds.
func ok(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, out, errOut := veneerRun(t.Context(), args...)
	if code != exitOK {
		t.Fatalf("veneer %q: exit code %d: %s", args, code, errOut)
	}
	return out, errOut
}

// buildApp makes a source directory, and an image of it named app:1. Nothing
// is unpacked, so that no root is needed.
func buildApp(t *testing.T) (dir, id string) {
	t.Helper()
	isolate(t)
	dir = t.TempDir()
	for name, data := range map[string]string{"run": "#!/bin/sh\n", "odd\x1b[31m\nname": "x", "two words": "yy"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := ok(t, "build", "--from", "scratch", "--sync", dir+":/app", "-c", `CMD ["/app/run"]`, "-t", "app:1", "--no-unpack")
	return dir, strings.TrimSuffix(out, "\n")
}

func TestBuildOutputs(t *testing.T) {
	dir, first := buildApp(t)
	if !strings.HasPrefix(first, "sha256:") || strings.Contains(first, "\n") {
		t.Fatalf("standard output %q is not a digest", first)
	}
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/bash\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	iid, meta := filepath.Join(out, "iid"), filepath.Join(out, "meta.json")
	args := []string{"build", "--from", "app:1", "--sync", dir + ":/app", "-t", "app:2", "-t", "example.org/x", "--no-unpack", "--source-date-epoch", "1"}
	text, _ := ok(t, append(args, "--iidfile", iid, "--metadata-file", meta, "--format", "json", "--progress", "quiet")...)
	var res veneer.Result
	if err := json.Unmarshal([]byte(text), &res); err != nil || res.Layer == nil || res.Changes.Modified.Count != 1 {
		t.Fatalf("result %+v, %v", res, err)
	}
	if data, err := os.ReadFile(iid); err != nil || string(data) != res.Digest.String() {
		t.Errorf("iidfile %q, %v", data, err)
	}
	data, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Digest     digest.Digest      `json:"containerimage.digest"`
		Descriptor ocispec.Descriptor `json:"containerimage.descriptor"`
		Name       string             `json:"image.name"`
		Veneer     veneer.Result      `json:"veneer"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.Digest != res.Digest || m.Descriptor.Digest != res.Digest || m.Descriptor.Size != res.Target.Size ||
		m.Name != "docker.io/library/app:2,example.org/x:latest" || m.Veneer.Base != "docker.io/library/app:1" {
		t.Errorf("metadata %s", data)
	}
	id, messages := ok(t, append(args, "-q")...)
	if id != res.Digest.String()+"\n" || messages != "" {
		t.Errorf("-q: %q, %q", id, messages)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 2 {
		t.Errorf("beside the files: %v, %v", left, err)
	}
}

// TestResultFileFails: the digest is not printed where a file that was asked
// for cannot be written.
func TestResultFileFails(t *testing.T) {
	buildApp(t)
	missing := filepath.Join(t.TempDir(), "no", "iid")
	code, out, errOut := veneerRun(t.Context(), "build", "--from", "app:1", "-t", "app:3", "-q", "--no-unpack", "--iidfile", missing)
	if code != exitError || out != "" || !strings.Contains(errOut, missing) {
		t.Errorf("exit code %d, %q, %q", code, out, errOut)
	}
}

func TestProgressKinds(t *testing.T) {
	buildApp(t)
	args := []string{"build", "--from", "app:1", "--delete", "/app/run", "-t", "app:2", "--no-unpack", "--progress"}
	_, plain := ok(t, append(args, "plain")...)
	for _, want := range []string{"resolve:", "layer:", "1 deleted"} {
		if !strings.Contains(plain, want) {
			t.Errorf("plain: no %q in %s", want, plain)
		}
	}
	if _, quiet := ok(t, append(args, "quiet")...); quiet != "" {
		t.Errorf("quiet: %q", quiet)
	}
	_, lines := ok(t, append(args, "json")...)
	var steps int
	for line := range strings.Lines(lines) {
		var l progressLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("json: %q: %v", line, err)
		}
		if l.Step != "" && l.Done {
			steps++
		}
	}
	if steps < 3 {
		t.Errorf("json: %d steps in %s", steps, lines)
	}
	if _, tty := ok(t, append(args, "tty")...); !strings.Contains(tty, "✓") || !strings.Contains(tty, "record") {
		t.Errorf("tty: %q", tty)
	}
	t.Setenv("NO_COLOR", "")
	if _, tty := ok(t, append(args, "tty")...); strings.Contains(tty, "\x1b[32m") {
		t.Errorf("tty with NO_COLOR: %q", tty)
	}
}

func TestDiff(t *testing.T) {
	dir, _ := buildApp(t)
	same := []string{"diff", "--from", "app:1", "--sync", dir + ":/app", "--progress", "quiet"}
	if out, _ := ok(t, append(same, "--exit-code")...); out != "nothing differs from docker.io/library/app:1\n" {
		t.Errorf("no change: %q", out)
	}
	if err := os.Chmod(filepath.Join(dir, "two words"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "odd\x1b[31m\nname")); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := veneerRun(t.Context(), append(same, "--exit-code")...)
	if code != 1 || errOut != "" {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	for _, want := range []string{
		`D "/app/odd\x1b[31m\nname"  0  absent (1 file, 1 B)` + "\n",
		`M "/app/two words"  2  mode` + "\n",
		"docker.io/library/app:1 -> this build\nlayer: about ",
		"\nadded 0 (0 B), modified 1 (2 B), deleted 1 (1 file, 1 B)\nof these, for metadata alone: 1 file, 2 B\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	ok(t, same...) // differences are no failure unless asked for
	text, _ := ok(t, append(same, "--format", "json")...)
	var res struct{ Changes []struct{ Kind, Path string } }
	if err := json.Unmarshal([]byte(text), &res); err != nil || len(res.Changes) != 2 || res.Changes[0].Path != "/app/odd\x1b[31m\nname" {
		t.Errorf("json: %+v, %v", res, err)
	}
	code, _, errOut = veneerRun(t.Context(), "diff", "--exit-code", "--from", "absent", "--progress", "quiet")
	if code != 2 {
		t.Errorf("error with --exit-code: %d, %s", code, errOut)
	}
	checkErrorLine(t, []string{"diff"}, errOut)
}

func TestImageVerbs(t *testing.T) {
	_, id := buildApp(t)
	if out, _ := ok(t, "tag", "app:1", "other"); out != "docker.io/library/other:latest\n" {
		t.Errorf("tag: %q", out)
	}
	out, _ := ok(t, "images")
	if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "NAME ") || !strings.HasPrefix(lines[1], "docker.io/library/app:1 ") {
		t.Errorf("images: %q", out)
	}
	if out, _ := ok(t, "images", "-q"); out != id+"\n"+id+"\n" {
		t.Errorf("images -q: %q", out)
	}
	var rows []imageRow
	out, _ = ok(t, "images", "--format", "json")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 2 || rows[1].Name != "docker.io/library/other:latest" || len(rows[1].Platforms) != 1 {
		t.Errorf("images: %+v, %v", rows, err)
	}
	if out, _ := ok(t, "history", "app:1"); !strings.Contains(out, "sha256:") || !strings.Contains(out, "CMD") {
		t.Errorf("history: %q", out)
	}
	var in inspected
	out, _ = ok(t, "inspect", "app:1")
	if err := json.Unmarshal([]byte(out), &in); err != nil || in.Digest != id || in.Record == nil || len(in.Config) == 0 {
		t.Errorf("inspect: %s, %v", out, err)
	}
	if config, _ := ok(t, "inspect", "--config", "app:1"); !strings.Contains(config, `"Cmd":["/app/run"]`) {
		t.Errorf("inspect --config: %q", config)
	}
	if manifest, _ := ok(t, "inspect", "--manifest", id); !json.Valid([]byte(manifest)) {
		t.Errorf("inspect --manifest: %q", manifest)
	}
	code, out, errOut := veneerRun(t.Context(), "rmi", "absent", "other", "app:1")
	if code != exitError || out != "docker.io/library/other:latest\ndocker.io/library/app:1\n" || !strings.Contains(errOut, "absent") {
		t.Errorf("rmi: %d, %q, %q", code, out, errOut)
	}
	if out, _ := ok(t, "images", "-q"); out != "" {
		t.Errorf("after rmi: %q", out)
	}
}

func TestPrune(t *testing.T) {
	isolate(t)
	// Without a name, nothing keeps the image.
	ok(t, "build", "--from", "scratch", "-c", "ENV A=1", "--copy", "run.go:/x", "--no-unpack")
	out, _ := ok(t, "prune", "--cache", "--format", "json")
	var p veneer.Pruned
	if err := json.Unmarshal([]byte(out), &p); err != nil || p.Blobs != 3 || p.BlobBytes == 0 || p.Cached != 3 { // an index, digests of files, and which layer they make
		t.Errorf("prune: %s, %v", out, err)
	}
	if out, _ := ok(t, "prune"); out != "removed 0 blobs, 0 B\n" {
		t.Errorf("second prune: %q", out)
	}
}

// TestRepeat: what is repeated is done at once and then after each pause, until it fails or a signal ends it.
func TestRepeat(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		every time.Duration
		last  func(context.CancelCauseFunc) error // what the third time does
		times int
		err   error
	}{
		{0, nil, 1, nil},
		{time.Hour, func(context.CancelCauseFunc) error { return failed }, 3, failed},
		{time.Hour, func(stop context.CancelCauseFunc) error { stop(signalError{syscall.SIGTERM}); return nil }, 3, signalError{syscall.SIGTERM}},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			start, times := time.Now(), 0
			err := repeat(ctx, c.every, func(context.Context) error {
				if took := time.Since(start); took != time.Duration(times)*c.every {
					t.Errorf("every %s: number %d after %s", c.every, times, took)
				}
				if times++; times == 3 {
					return c.last(stop)
				}
				return nil
			})
			if times != c.times || !errors.Is(err, c.err) {
				t.Errorf("every %s: done %d times, error %v; want %d and %v", c.every, times, err, c.times, c.err)
			}
		})
	}
	isolate(t)
	if code, _, errOut := veneerRun(t.Context(), "prune", "--every", "0s"); code != exitUsage || !strings.Contains(errOut, "--every") {
		t.Errorf("--every 0s: exit code %d, %s", code, errOut)
	}
}

// TestPin: a pin is of a name, shows in the list, and stays when the name is built anew or everything is pruned.
func TestPin(t *testing.T) {
	dir, _ := buildApp(t)
	pinned := func(filter string) string {
		t.Helper()
		out, _ := ok(t, "images", "--filter", "pinned="+filter, "--format", "{{.Repository}}:{{.Tag}}")
		return strings.TrimSpace(out)
	}
	build := []string{"build", "--from", "app:1", "--copy", dir + ":/copy", "--no-unpack", "-t"}
	ok(t, append(build, "app:2", "--pin")...)
	if got := pinned("true"); got != "app:2" {
		t.Errorf("after build --pin: %q", got)
	}
	var rows []imageRow
	out, _ := ok(t, "images", "--format", "json", "app:2")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 1 || !rows[0].UpdatedAt.Equal(rows[0].CreatedAt) {
		t.Errorf("the name was there without its pin: %s, %v", out, err)
	}
	if out, _ := ok(t, "tag", "--pin", "app:1"); out != "docker.io/library/app:1\n" {
		t.Errorf("tag --pin: %q", out)
	}
	ok(t, "tag", "--unpin", "app:2")
	ok(t, "tag", "--unpin", "app:2") // There is none to take away.
	ok(t, append(build, "app:1")...)
	ok(t, "prune", "--all")
	if yes, no := pinned("true"), pinned("false"); yes != "app:1" || no != "app:2" {
		t.Errorf("pinned %q, not %q", yes, no)
	}
	out, _ = ok(t, "images", "--format", "json", "app:1")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 1 || !rows[0].Pinned {
		t.Errorf("images: %s, %v", out, err)
	}
	ok(t, "rmi", "app:1")
	for _, args := range [][]string{{"tag", "--pin"}, {"tag", "--pin", "--unpin", "app:2"}, {"build", "--from", "app:2", "--pin", "--no-unpack"}, {"images", "--filter", "pinned=maybe"}} {
		if code, _, errOut := veneerRun(t.Context(), args...); code != exitUsage {
			t.Errorf("%q: exit code %d, %s", args, code, errOut)
		}
	}
	if code, _, errOut := veneerRun(t.Context(), "tag", "--pin", "none:1", "app:2"); code != exitError || !strings.Contains(errOut, "none:1") || pinned("true") != "app:2" {
		t.Errorf("a missing image: exit code %d, %s", code, errOut)
	}
}
