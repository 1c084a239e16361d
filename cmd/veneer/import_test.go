package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImport: a root file system's archive, which load refuses and names import for,
// is an image of one layer with what the flags say.
func TestImport(t *testing.T) {
	isolate(t)
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, h := range []tar.Header{
		{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./var/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./bin/sh", Typeflag: tar.TypeReg, Mode: 0o755, Uid: 7, Gid: 8},
		{Name: "./bin/bash", Typeflag: tar.TypeSymlink, Linkname: "sh"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := os.WriteFile(file, data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := veneerRun(t.Context(), "load", file); code != exitError || !strings.Contains(errOut, "veneer import FILE NAME") {
		t.Errorf("load: %d, %s", code, errOut)
	}
	args := []string{"import", "--no-unpack", "--progress", "quiet", "--source-date-epoch", "1", "-c", `CMD ["/bin/sh"]`, "--env", "LANG=C", "--label", "a=b c"}
	id, _ := ok(t, append(args, file, "base:1", "base:latest")...)
	if out, _ := ok(t, "inspect", "--format", "{{json .Config.Cmd}} {{.Config.Env}} {{.Config.Labels}} {{len .RootFS.Layers}}", "base"); out != `["/bin/sh"] [LANG=C] map[a:b c] 1`+"\n" {
		t.Errorf("config: %s", out)
	}
	if out, _ := ok(t, "diff", "--name-only", "scratch", "base:1"); out != "/bin\n/bin/bash\n/bin/sh\n/etc\n/var\n" {
		t.Errorf("files: %q", out)
	}
	var out, errOut bytes.Buffer
	code := run(t.Context(), append(args, "-", "base:2"), streams{in: &data, out: &out, err: &errOut})
	if code != exitOK || out.String() != id {
		t.Errorf("from standard input: %d, %q, %s; want %q", code, out.String(), errOut.String(), id)
	}
	if code, _, errOut := veneerRun(t.Context(), "import", filepath.Dir(file), "base:3"); code != exitUsage || !strings.Contains(errOut, "--from scratch --copy") {
		t.Errorf("a directory: %d, %s", code, errOut)
	}
}

// TestLoadFrom: the argument, docker's -i and standard input are the same.
func TestLoadFrom(t *testing.T) {
	buildApp(t)
	file := filepath.Join(t.TempDir(), "app.tar")
	ok(t, "save", "app:1", "-o", file, "--progress", "quiet")
	want, _ := ok(t, "load", "--no-unpack", file)
	if got, _ := ok(t, "load", "--no-unpack", "-i", file); got != want {
		t.Errorf("-i: %q, want %q", got, want)
	}
	for _, args := range [][]string{{"load", "--no-unpack"}, {"load", "--no-unpack", "-"}, {"load", "--no-unpack", "--input", "-"}} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, streams{in: f, out: &out, err: &errOut}); code != exitOK || out.String() != want {
			t.Errorf("%q: %d, %q, %s", args, code, out.String(), errOut.String())
		}
	}
}
