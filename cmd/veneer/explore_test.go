package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/veneer-build/veneer"
)

// exploredImage makes an image of three layers, with waste of every kind and a
// hostile name, and takes it apart.
func exploredImage(t *testing.T) *veneer.Dissection {
	t.Helper()
	isolate(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := t.TempDir()
	write := func(files map[string]string) {
		for name, data := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(map[string]string{
		"usr/lib/big.so": strings.Repeat("a", 300_000), "usr/lib/copy.so": strings.Repeat("a", 300_000),
		"usr/share/doc": strings.Repeat("d", 40_000), "etc/config": "one\n", "srv/\x1b[2J evil\u202e": "x", "srv/数据": strings.Repeat("w", 2_000),
	})
	if err := os.Symlink("../usr/lib/big.so", filepath.Join(dir, "etc/link")); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "scratch", "--sync", dir+":/", "-t", "app:1", "--no-unpack", "--message", "files\n of the first")
	write(map[string]string{"usr/lib/big.so": strings.Repeat("b", 310_000), "opt/tool": strings.Repeat("t", 5_000)})
	ok(t, "build", "--from", "app:1", "--sync", dir+":/", "-t", "app:2", "--no-unpack", "--force-delete")
	if err := os.Remove(filepath.Join(dir, "usr/share/doc")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "opt/tool"), 0o4755); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "app:2", "--sync", dir+":/", "-t", "app:3", "--no-unpack", "--force-delete")
	a := newApp(streams{err: os.Stderr}, os.LookupEnv)
	a.quiet = true
	img, err := a.takeApart(t.Context(), veneer.DissectRequest{Image: "app:3", Listed: wasteListed}, &registryFlags{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// press sends keys. Letters of a word that begins with a slash are typed.
func press(x *explorer, keys ...string) {
	for _, k := range keys {
		if text, typed := strings.CutPrefix(k, "type "); typed {
			for _, r := range text {
				x.key(string(r), string(r))
			}
			continue
		}
		x.key(k, "")
	}
}

// screenOf returns what a terminal shows, and checks that each line fits.
func screenOf(t *testing.T, x *explorer) string {
	t.Helper()
	lines := x.screen()
	if len(lines) > x.height {
		t.Errorf("%dx%d: %d lines", x.width, x.height, len(lines))
	}
	var text strings.Builder
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > x.width {
			t.Errorf("%dx%d: a line of %d columns: %q", x.width, x.height, w, line)
		}
		plain := strings.TrimRight(ansi.Strip(line), " ")
		for _, r := range plain {
			if !unicode.IsPrint(r) {
				t.Errorf("%q on the screen", r)
			}
		}
		text.WriteString(plain + "\n")
	}
	return text.String()
}

// TestExploreScreens holds what is shown against the files in testdata/explore.
// VENEER_UPDATE=1 writes these.
func TestExploreScreens(t *testing.T) {
	img := exploredImage(t)
	for _, c := range []struct {
		name          string
		width, height int
		keys          []string
	}{
		{"start-80x24", 80, 24, nil},
		{"start-120x40", 120, 40, nil},
		{"start-40x10", 40, 10, nil},
		{"layer-80x24", 80, 24, []string{"down", "down", "down", "enter", "l", "l", "l"}},
		{"below-80x24", 80, 24, []string{"j", "j", "t", "tab", "enter", "s"}},
		{"search-80x24", 80, 24, []string{"/", "type so", "enter", "n"}},
		{"typing-80x24", 80, 24, []string{"/", "type usr/x", "backspace"}},
		{"evil-80x24", 80, 24, []string{"/", "type evil", "enter"}},
		{"waste-80x24", 80, 24, []string{"tab", "tab", "down"}},
		{"wastegone-80x24", 80, 24, []string{"tab", "tab", "down", "down", "enter"}},
		{"files-40x10", 40, 10, []string{"tab", "enter", "down"}},
		{"waste-40x10", 40, 10, []string{"shift+tab"}},
		{"help-40x10", 40, 10, []string{"?", "G"}},
		{"help-80x24", 80, 24, []string{"?"}},
		{"none-80x24", 80, 24, []string{"/", "type absent", "enter"}},
		{"small-39x10", 39, 10, nil},
		{"wide-200x12", 200, 12, nil},
	} {
		x := newExplorer(img, false)
		x.Update(tea.WindowSizeMsg{Width: c.width, Height: c.height})
		press(x, c.keys...)
		got := screenOf(t, x)
		file := filepath.Join("testdata", "explore", c.name)
		if os.Getenv("VENEER_UPDATE") == "1" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != got {
			t.Errorf("%s: %v; shown:\n%s\nwant:\n%s", c.name, err, got, want)
		}
	}
}

// TestExploreAnySize: at every size and with every key the lines fit, and nothing is
// out of reach.
func TestExploreAnySize(t *testing.T) {
	x := newExplorer(exploredImage(t), true)
	keys := []string{
		"down", "enter", "l", "j", "right", "tab", "pgdown", "G", "enter", "shift+tab", "g", "t", "s", "/", "type o", "enter", "n", "N", "esc", "?", "k", "?",
		"left", "h", "up", "end", "home", "pgup", "tab", "tab", "backspace", "x", "space",
	}
	for i := range 400 {
		x.Update(tea.WindowSizeMsg{Width: i * 7 % 170, Height: i * 5 % 60})
		press(x, keys[i*13%len(keys)])
		screenOf(t, x)
	}
	x.help, x.asking = false, false
	for _, k := range []string{"q", "ctrl+c"} {
		if cmd := x.key(k, ""); cmd == nil {
			t.Errorf("%s does not end it", k)
		}
	}
}

// TestExploreSearchReveals: each file that a search may find can be shown, also one in
// a directory that a layer deletes or puts a file in the place of.
func TestExploreSearchReveals(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	for _, name := range []string{"d/sub/needle", "e/needle", "f"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, "build", "--from", "scratch", "--sync", dir+":/", "-t", "app:1", "--no-unpack")
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "d")), os.RemoveAll(filepath.Join(dir, "e")), os.WriteFile(filepath.Join(dir, "e"), []byte("file"), 0o644)); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "app:1", "--sync", dir+":/", "-t", "app:2", "--no-unpack", "--force-delete")
	a := newApp(streams{err: os.Stderr}, os.LookupEnv)
	a.quiet = true
	img, err := a.takeApart(t.Context(), veneer.DissectRequest{Image: "app:2", Listed: wasteListed}, &registryFlags{})
	if err != nil {
		t.Fatal(err)
	}
	for layer := range 3 {
		for _, below := range []bool{false, true} {
			x := newExplorer(img, false)
			x.files.below = below
			x.choose(layer)
			found := x.files.search("needle")
			if layer > 0 && len(found.files) != 2 {
				t.Errorf("layer %d, below %v: %d found", layer, below, len(found.files))
			}
			for _, f := range found.files {
				x.files.reveal(f)
				if row, ok := x.files.row(); !ok || row.file != f {
					t.Errorf("layer %d, below %v: %s is found and not shown", layer, below, f.Path())
				}
			}
		}
	}
	x := newExplorer(img, false)
	x.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	press(x, "down", "down", "enter", "/", "type /d/sub", "enter", "left", "left")
	if text := screenOf(t, x); !strings.Contains(text, "▸ d/") {
		t.Errorf("closed: %s", text)
	}
	press(x, "enter")
	if text := screenOf(t, x); !strings.Contains(text, "▾ d/") || !strings.Contains(text, "sub/") {
		t.Errorf("opened: %s", text)
	}
}

// TestExploreOutside: an image that is elsewhere leaves nothing in the user's engine.
func TestExploreOutside(t *testing.T) {
	buildApp(t)
	archive := filepath.Join(t.TempDir(), "app.tar")
	ok(t, "save", "app:1", "-o", archive, "--progress", "quiet")
	root := filepath.Join(t.TempDir(), "root")
	t.Setenv("VENEER_ROOT", root)
	a := newApp(streams{err: os.Stderr}, os.LookupEnv)
	a.quiet = true
	img, err := a.takeApart(t.Context(), veneer.DissectRequest{Image: "archive:" + archive}, &registryFlags{})
	if err != nil || len(img.New.Parts.Layers) != 1 {
		t.Fatalf("%+v, %v", img, err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the engine's directory: %v", err)
	}
}

// TestExploreLongStep: of a step of megabytes the beginning is kept.
func TestExploreLongStep(t *testing.T) {
	img := exploredImage(t)
	img.New.Config.History[0].CreatedBy = "RUN " + strings.Repeat("é", 1<<20)
	x := newExplorer(img, false)
	if by := x.by[0]; len(by) > byShown+4 || !strings.HasPrefix(by, "RUN éé") || !strings.HasSuffix(by, "é…") {
		t.Errorf("%d bytes: %.20q", len(by), by)
	}
}

// TestExploreColors: without colours only brightness is left.
func TestExploreColors(t *testing.T) {
	img := exploredImage(t)
	for _, colors := range []bool{true, false} {
		x := newExplorer(img, colors)
		x.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
		press(x, "down", "down")
		if text := x.View().Content; strings.Contains(text, "\x1b[3") != colors || !strings.Contains(text, string(reverse)) {
			t.Errorf("colours %v: %q", colors, text)
		}
	}
}

// TestExploreNoTerminal: elsewhere one is told what to do instead.
func TestExploreNoTerminal(t *testing.T) {
	buildApp(t)
	code, out, errOut := veneerRun(t.Context(), "explore", "app:1")
	if code != exitError || out != "" || !strings.Contains(errOut, "veneer report") || !strings.Contains(errOut, "veneer history") {
		t.Errorf("%d, %q, %q", code, out, errOut)
	}
}

// TestModeText: modes as ls shows them.
func TestModeText(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100644: "-rw-r--r--", 0o104755: "-rwsr-xr-x", 0o102644: "-rw-r-Sr--", 0o041777: "drwxrwxrwt", 0o120777: "lrwxrwxrwx", 0o060600: "brw-------",
	} {
		if got := modeText(mode); got != want {
			t.Errorf("%s: %s, want %s", fmt.Sprintf("%o", mode), got, want)
		}
	}
}
