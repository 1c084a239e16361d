package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/core/images"
)

// evil is what a terminal acts upon, in every encoding of it that can be in a name.
const evil = "\x1b[2J\x1b]0;title\a\u009b31m\u202e\x7f\r\b\x9b"

// TestTerminalEscapes: whatever a file, an image, its labels and its history are called, nothing that is printed, on
// standard output or as a message, can do anything to a terminal.
func TestTerminalEscapes(t *testing.T) {
	b := newBench(t).withBase()
	b.write("src/"+evil, "evil")
	b.write("src/l\nline", "evil")
	if err := os.Symlink(evil, filepath.Join(b.dir, "src/link")); err != nil {
		t.Fatal(err)
	}
	b.write("bad/.wh."+evil, "x")
	b.write("changed/"+evil, "longer than evil")
	b.ok("build", "--from", "base", "--sync", "src/:/"+strings.Trim(evil, "\r")+"/x", "--copy", "src/:/app", "--no-unpack",
		"--message", evil, "--author", evil, "-c", "LABEL a=\""+strings.ReplaceAll(evil, "\r", "")+"\"", "--annotation", "a.b="+evil, "-t", "evil:1")
	b.record("docker.io/library/x" + evil + ":1")
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"images"}},
		{0, []string{"images", "--format", "json"}},
		{0, []string{"images", "--format", "{{json .}} {{.Name}} {{.Labels}}"}},
		{0, []string{"images", "--format", "table {{.Repository}}\t{{.Tag}}"}},
		{0, []string{"history", "--no-trunc", "evil:1"}},
		{0, []string{"history", "--format", "{{.CreatedBy}} {{.Comment}}", "evil:1"}},
		{0, []string{"inspect", "--format", "{{.Config.Labels}} {{json .Config}} {{.Author}} {{.Manifest}}", "evil:1"}},
		{0, []string{"history", "--format", "json", "evil:1"}},
		{0, []string{"inspect", "evil:1"}},
		{0, []string{"diff", "--from", "evil:1", "--copy", "changed/:/app"}},
		{0, []string{"diff", "--from", "evil:1", "--copy", "changed/:/app", "--format", "json"}},
		{0, []string{"diff", "evil:1", "base"}},
		{0, []string{"diff", "--stat", "base", "evil:1"}},
		{0, []string{"diff", "--tree", "base", "evil:1"}},
		{0, []string{"diff", "--name-only", "evil:1", "base"}},
		{0, []string{"diff", "base", "evil:1", "--format", "json"}},
		{0, []string{"verify", "evil:1"}},
		{0, []string{"--debug", "build", "--no-unpack", "--from", "evil:1", "--sync", "changed/:/app", "-t", "new"}},
		{0, []string{"--progress", "json", "build", "--no-unpack", "--from", "evil:1", "--sync", "changed/:/app", "-t", "new"}},
		{1, []string{"build", "--from", "evil:1", "--copy", "bad/:/app", "-t", "new"}},
		{1, []string{"build", "--from", "evil:1", "--copy", evil + ":/app", "-t", "new"}},
		{1, []string{"--progress", "json", "build", "--from", "evil:1", "--copy", "src/:/app/" + evil + "/x", "-t", "new"}},
		{1, []string{"history", "no-such-image"}},
		{-1, []string{"history", evil}},
		{-1, []string{"build", "--from", "base", "-t", evil}},
		{-1, []string{"--" + evil}},
		{-1, []string{evil}},
		{-1, []string{"rmi", "x" + evil + ":1"}},
		{-1, []string{"prune"}},
	} {
		o := b.try(c.args...)
		if c.code >= 0 && o.code != c.code {
			t.Errorf("%q: exit code %d: %s", c.args, o.code, o.stderr)
		}
		for where, text := range map[string]string{"output": o.out, "messages": o.stderr} {
			if bad := unprintable(text); bad != "" {
				t.Errorf("%q: %s in the %s: %q", c.args, bad, where, text)
			}
		}
	}
}

// unprintable names the first thing in a text that is more than text.
func unprintable(text string) string {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("%q at byte %d", text[i:i+size], i)
		}
		i += size
	}
	return ""
}

// record gives the image another name, one that no parser of names would take: a daemon's other clients can.
func (b *bench) record(name string) {
	b.t.Helper()
	e, done := b.open()
	defer done()
	ctx := e.Context(b.t.Context())
	img, err := e.Client.ImageService().Get(ctx, "docker.io/library/evil:1")
	if err == nil {
		_, err = e.Client.ImageService().Create(ctx, images.Image{Name: name, Target: img.Target, Labels: map[string]string{"a": evil}})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
