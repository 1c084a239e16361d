package veneer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// A source's ignore file is read in the source alone: neither what a link out
// of it leads to, nor a fifo, nor more than a file of patterns can be.
func TestIgnoreFileStaysInSource(t *testing.T) {
	dir := t.TempDir()
	e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: filepath.Join(dir, "root"), Snapshotter: "native"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.MkdirAll(at("src/sub"), 0o755),
		os.WriteFile(at("src/file"), []byte("file"), 0o600),
		os.WriteFile(at("src/sub/own"), []byte("file\n"), 0o600),
		os.WriteFile(at("outside"), []byte("[secret\n"), 0o600),
		os.Symlink("sub/own", at("src/inner")),
		os.Symlink("../outside", at("src/relative")),
		os.Symlink(at("outside"), at("src/absolute")),
		os.Symlink("..", at("src/up")),
		unix.Mkfifo(at("src/fifo"), 0o600),
		os.WriteFile(at("src/large"), make([]byte, 5<<20), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, says := range map[string]string{
		"inner": "", "sub/own": "", at("outside"): "secret", "../outside": "secret", // as it was asked for
		"relative": "escapes", "absolute": "escapes", "up/outside": "escapes", "fifo": "not a regular file", "large": "larger than", "none": "no such file",
	} {
		req := veneer.BuildRequest{
			Base: "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Copy, Source: at("src"), Dest: "/", IgnoreFile: name, Only: []string{"file"}},
			}},
			ImageOptions: veneer.ImageOptions{NoUnpack: true},
		}
		_, err := veneer.Build(t.Context(), e, req)
		switch {
		case says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case says != "" && err == nil:
			t.Errorf("%s: no error", name)
		case err != nil && strings.Contains(says, "escapes") && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the error shows what is outside: %v", name, err)
		case says != "" && !strings.Contains(err.Error(), says):
			t.Errorf("%s: %v, want one that says %q", name, err, says)
		}
	}
}
