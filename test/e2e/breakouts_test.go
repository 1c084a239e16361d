package e2e

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
)

// breakouts are images, as the tar entries of their layers, that try to have the unpacker write to or link the canary:
// the cases of containerd's TestBreakouts, and those that go over several layers.
func breakouts(c *canary) map[string][][]tartest.WriterToTar {
	tc := tartest.TarContext{}
	up := strings.Repeat("../", 40) + c.dir[1:]
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte("evil"), 0o666) }
	layer := func(entries ...tartest.WriterToTar) []tartest.WriterToTar { return entries }
	one := func(entries ...tartest.WriterToTar) [][]tartest.WriterToTar { return [][]tartest.WriterToTar{entries} }
	return map[string][][]tartest.WriterToTar{
		"name above":               one(f(up + "/secret")),
		"absolute name":            one(f(c.dir + "/secret")),
		"link absolute":            one(tc.Symlink(c.dir, "e"), f("e/secret")),
		"link relative":            one(tc.Symlink(up, "e"), f("e/secret")),
		"link chain":               one(tc.Symlink("b", "e"), tc.Symlink(up, "b"), f("e/d/f")),
		"link in a layer below":    {layer(tc.Symlink(c.dir, "e")), layer(f("e/secret"), tc.Dir("e/d", 0o777))},
		"directory over link":      {layer(tc.Symlink(c.dir, "e")), layer(tc.Dir("e", 0o777), f("e/secret"))},
		"whiteout through link":    {layer(tc.Symlink(c.dir, "e")), layer(f("e/.wh.secret"), f("e/.wh..wh..opq"))},
		"whiteout of above":        one(f(".wh..."), f("e/.wh..")),
		"hard link absolute":       one(tc.Link(c.dir+"/secret", "e"), f("e")),
		"hard link above":          one(tc.Link(up+"/secret", "e"), tc.File("e", []byte("evil"), 0o4777)),
		"hard link through link":   one(tc.Symlink(c.dir, "x"), tc.Link("x/secret", "e"), f("e")),
		"hard link to link":        one(tc.Symlink(c.dir+"/secret", "x"), tc.Link("x", "e"), f("e")),
		"mode through link":        one(tc.Symlink(c.dir+"/secret", "e"), tc.Link("e", "y"), tc.File("y", nil, 0o777)),
		"device":                   one(device("e"), f("e/x")),
		"root as link":             {layer(tc.Symlink(c.dir, ".")), layer(f("secret"))},
		"root as link, below":      {layer(tc.Symlink(c.dir, "./")), layer(tc.Symlink(c.dir, "a/..")), layer(f("secret"))},
		"attributes of a link":     one(tc.WithXattrs(map[string]string{"user.x": "y"}).Symlink(c.dir+"/secret", "e")),
		"overlay's own attributes": one(tc.WithXattrs(map[string]string{"trusted.overlay.redirect": c.dir, "trusted.overlay.opaque": "y"}).Dir("e", 0o755)),
	}
}

func device(name string) tartest.WriterToTar {
	return writerToTar(func(w *tar.Writer) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: name, Mode: 0o666, Devmajor: 1, Devminor: 3})
	})
}

type writerToTar func(*tar.Writer) error

// WriteTo implements tartest.WriterToTar.
func (w writerToTar) WriteTo(t *tar.Writer) error { return w(t) }

// tarFiles writes layers to files.
func tarFiles(t *testing.T, layers [][]tartest.WriterToTar) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, entries := range layers {
		data, err := io.ReadAll(tartest.TarFromWriterTo(tartest.TarAll(entries...)))
		must(t, err)
		files = append(files, filepath.Join(dir, fmt.Sprint(i)))
		must(t, os.WriteFile(files[i], data, 0o600))
	}
	return files
}
