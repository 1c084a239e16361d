package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer"
)

// twoImages makes app:1 and app:2, which is one layer more. Nothing is unpacked.
func twoImages(t *testing.T) {
	t.Helper()
	buildApp(t)
	ok(t, "build", "--from", "app:1", "--copy", "run.go:/app/more", "-t", "app:2", "--no-unpack")
}

func TestSaveAndLoad(t *testing.T) {
	twoImages(t)
	ids, _ := ok(t, "images", "-q")
	dir := t.TempDir()
	whole, delta := filepath.Join(dir, "whole.tar"), filepath.Join(dir, "delta.tar")
	if out, errOut := ok(t, "save", "app:1", "app:2", "-o", whole); out != "" || !strings.Contains(errOut, "docker.io/library/app:1, docker.io/library/app:2: 6 blobs") {
		t.Errorf("save: %q, %q", out, errOut)
	}
	if _, errOut := ok(t, "save", "app:2", "--since", "app:1", "-o", delta); !strings.Contains(errOut, "3 blobs") || !strings.Contains(errOut, "left out 1 layer") {
		t.Errorf("save --since: %q", errOut)
	}
	code, stream, errOut := veneerRun(t.Context(), "save", "app:2", "--since", "app:1", "--progress", "quiet")
	data, err := os.ReadFile(delta)
	if code != 0 || errOut != "" || err != nil || stream != string(data) {
		t.Errorf("to standard output: %d, %q, %v, %d bytes of %d", code, errOut, err, len(stream), len(data))
	}
	if _, errOut := ok(t, "save", "app:1", "--since", "app:1", "--platform", "linux/amd64", "-o", delta); !strings.Contains(errOut, "left out 1 layer") {
		t.Errorf("an image since itself: %q", errOut)
	}

	t.Setenv("VENEER_ROOT", t.TempDir())
	in := strings.NewReader(stream)
	var out, errBuf bytes.Buffer
	if code := run(t.Context(), []string{"load", "--no-unpack", "-"}, streams{in: in, out: &out, err: &errBuf}); code != exitError || !strings.Contains(errBuf.String(), "veneer pull docker.io/library/app:1@sha256:") {
		t.Errorf("without its base: %d, %s", code, errBuf.String())
	}
	// The reader has the base only.
	t.Setenv("VENEER_ROOT", t.TempDir())
	if out, _ := ok(t, "load", "--no-unpack", whole); strings.Count(out, "\n") != 2 {
		t.Errorf("load: %q", out)
	}
	ok(t, "rmi", "app:2")
	ok(t, "prune")
	in.Reset(stream)
	if code := run(t.Context(), []string{"load", "--no-unpack", "-"}, streams{in: in, out: &out, err: &errBuf}); code != exitOK {
		t.Errorf("delta: %d, %s", code, errBuf.String())
	}
	if again, _ := ok(t, "images", "-q"); again != ids {
		t.Errorf("images %q, want %q", again, ids)
	}
	if _, errOut := ok(t, "save", "app:1", "--since", "app:2", "-o", "/dev/null"); !strings.Contains(errOut, "left out 1 layer") {
		t.Errorf("to a device: %q", errOut)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is %v, %v", info.Mode(), err)
	}
}

func TestSaveByID(t *testing.T) {
	_, id := buildApp(t)
	file := filepath.Join(t.TempDir(), "a.tar")
	ok(t, "save", strings.TrimPrefix(id, "sha256:")[:12], "-o", file)
	t.Setenv("VENEER_ROOT", t.TempDir())
	if code, _, errOut := veneerRun(t.Context(), "load", "--no-unpack", file); code != exitError || !strings.Contains(errOut, "give one with -t") {
		t.Errorf("%d, %s", code, errOut)
	}
	if out, _ := ok(t, "load", "--no-unpack", "-t", "new", file); out != "docker.io/library/new:latest "+id+"\n" {
		t.Errorf("load -t: %q", out)
	}
}

// TestSaveFails: there is no file then, nor half a one, and an old one stays.
func TestSaveFails(t *testing.T) {
	twoImages(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"save", "absent", "-o", file},
		{"save", "app:1", "--since", "absent", "-o", file},
		{"save", "app:1", "--platform", "linux/s390x", "-o", file},
		{"save", "app:1", "-o", dir},
		{"save", "app:1", "-o", filepath.Join(dir, "no", "a.tar")},
		{"save", "app:1", "-o", "/dev/full"},
	} {
		code, _, errOut := veneerRun(t.Context(), append(args, "--progress", "quiet")...)
		if code != exitError {
			t.Errorf("%q: exit code %d", args, code)
		}
		checkErrorLine(t, args, errOut)
	}
	left, err := os.ReadDir(dir)
	data, rerr := os.ReadFile(file)
	if err != nil || rerr != nil || len(left) != 1 || string(data) != "old" {
		t.Errorf("left %v, %q, %v, %v", left, data, err, rerr)
	}
}

func TestPendingFileModes(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	name := filepath.Join(t.TempDir(), "f")
	if err := writeFile(t.Context(), name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// twoVersions makes app:1 and app:2, in which a byte of a large file is another. Nothing is unpacked.
func twoVersions(t *testing.T) {
	t.Helper()
	dir, _ := buildApp(t)
	data := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(1, 17))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for _, tag := range []string{"app:1", "app:2"} {
		data[100_000]++
		if err := os.WriteFile(filepath.Join(dir, "model"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		ok(t, "build", "--from", "app:1", "--sync", dir+":/app", "-t", tag, "--no-unpack")
	}
}

func TestSaveDelta(t *testing.T) {
	twoVersions(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "delta.tar")
	_, errOut := ok(t, "save", "app:2", "--since", "app:1", "--delta", "-o", file)
	if !strings.Contains(errOut, "docker.io/library/app:2 since app:1: an archive of ") || !strings.Contains(errOut, "left out 2 layers") {
		t.Errorf("save --delta: %q", errOut)
	}
	data, err := os.ReadFile(file)
	if err != nil || len(data) > 20_000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	code, stream, errOut := veneerRun(t.Context(), "save", "app:2", "--since", "app:1", "--delta", "--progress", "quiet")
	if code != exitOK || errOut != "" || stream != string(data) {
		t.Errorf("to standard output: %d, %q, %d bytes of %d", code, errOut, len(stream), len(data))
	}
	out, _ := ok(t, "save", "app:2", "--since", "app:1", "--delta", "--dry-run")
	if !strings.Contains(out, " app/model\n") || !strings.Contains(out, " instead of 302.") {
		t.Errorf("--dry-run: %q", out)
	}
	var saved veneer.SavedDelta
	out, _ = ok(t, "save", "app:2", "--since", "app:1", "--delta", "--dry-run", "--format", "json")
	if err := json.Unmarshal([]byte(out), &saved); err != nil || saved.ArchiveBytes != int64(len(data)) || len(saved.Layers) != 3 ||
		saved.Layers[2].As != "diff" || saved.Layers[2].Generation != "veneer-gzip.1:0" || saved.Layers[2].Files[0].Path != "app/model" {
		t.Errorf("json: %s, %v", out, err)
	}
	out, _ = ok(t, "save", "app:2", "--since", "app:1", "--delta", "-o", file, "--format", "json")
	if err := json.Unmarshal([]byte(out), &saved); err != nil || saved.Left != 2 {
		t.Errorf("json of what is written: %s, %v", out, err)
	}
	if out, _ = ok(t, "save", "app:2", "--since", "app:1", "--dry-run"); !strings.Contains(out, "left out 2 layers") {
		t.Errorf("--dry-run of layers: %q", out)
	}
	if _, errOut := ok(t, "save", "app:2", "--since", "app:1", "--since", "app:2", "--delta", "-o", file); !strings.Contains(errOut, "since app:1, app:2: an archive of ") {
		t.Errorf("several: %q", errOut)
	}
}

// TestSaveDeltaFlags: what does not go together is refused before anything is read, and the error says what does.
func TestSaveDeltaFlags(t *testing.T) {
	isolate(t)
	for _, c := range []struct{ args, want string }{
		{"app:2 --delta", "use --since IMAGE"},
		{"app:2 app:3 --since app:1 --delta", "one image at a time"},
		{"app:2 --dry-run -o x", "leave --output out"},
		{"app:2 --format json", "--output FILE or --dry-run"},
		{"app:2 --since app:1 --delta --platform all", "--platform"},
	} {
		code, _, errOut := veneerRun(t.Context(), append([]string{"save"}, strings.Fields(c.args)...)...)
		if code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: %d, %q", c.args, code, errOut)
		}
	}
}

// TestSaveDeltaFails: there is no file then.
func TestSaveDeltaFails(t *testing.T) {
	twoVersions(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	for _, args := range [][]string{
		{"app:2", "--since", "absent", "-o", file},
		{"absent", "--since", "app:1", "-o", file},
		{"app:2", "--since", "scratch", "-o", file},
		{"app:2", "--since", "app:1", "--platform", "linux/s390x", "-o", file},
		{"app:2", "--since", "app:1", "-o", "/dev/full"},
	} {
		args = append([]string{"save", "--delta", "--progress", "quiet"}, args...)
		code, _, errOut := veneerRun(t.Context(), args...)
		if code != exitError {
			t.Errorf("%q: exit code %d", args, code)
		}
		checkErrorLine(t, args, errOut)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
