package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWellFormed: of random pairs of trees, each layer keeps to what every unpacker understands.
func TestWellFormed(t *testing.T) {
	requireRoot(t)
	for seed := range 40 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 11))
			base, want := randomTree(t, r), randomTree(t, r)
			checkForm(t, base, want, writeLayer(t, base, exactly(t, want)))
			data, _ := exactLayer(t, base, want)
			checkForm(t, base, want, data)
		})
	}
}

// checkForm wants relative and clean names, each once and after its directory's, links to earlier entries only, no
// user's names, and whiteouts of what the base has and the target has not, none of them below another or in a directory
// whose marker hides all of the base's.
func checkForm(t *testing.T, base, want string, layer []byte) {
	t.Helper()
	seen, hidden := map[string]bool{}, map[string]bool{}
	tr := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		name, slash := strings.CutSuffix(h.Name, "/")
		dir, last := path.Split(name)
		dir = path.Clean(dir)
		switch {
		case name == "" || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../"), slash != (h.Typeflag == tar.TypeDir):
			t.Errorf("name %q of type %q", h.Name, h.Typeflag)
		case seen[name]:
			t.Errorf("%q is there twice", name)
		case !seen[dir] && dir != ".":
			t.Errorf("%q comes before its directory", name)
		case h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero():
			t.Errorf("%q tells of the host: %+v", name, h)
		case h.Typeflag == tar.TypeLink && !seen[h.Linkname]:
			t.Errorf("%q is a link to %q, which is no earlier entry", name, h.Linkname)
		}
		gone, whiteout := strings.CutPrefix(last, ".wh.")
		switch {
		case last == ".wh..wh..opq":
			hidden[dir] = true
		case whiteout && hidden[dir]:
			t.Errorf("%q is in a directory that hides all of the base's", name)
		case whiteout && !there(t, base, dir, gone), whiteout && there(t, want, dir, gone) && !replacedWhole(layer, path.Join(dir, gone)):
			t.Errorf("%q deletes what is not to be deleted", name)
		case !whiteout:
			seen[name] = true
		}
	}
}

// replacedWhole: a directory that is to show nothing of the base's has a whiteout, an entry and a marker.
func replacedWhole(layer []byte, dir string) bool {
	return bytes.Contains(layer, []byte(dir+"/.wh..wh..opq"))
}

func there(t *testing.T, elem ...string) bool {
	t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(filepath.Join(elem...), &st)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		t.Fatal(err)
	}
	return err == nil
}
