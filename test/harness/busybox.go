package harness

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// busyboxApplets are the programs that [BusyboxImage] has.
const busyboxApplets = "cat chmod cp echo id ls mkdir mv rm sh sleep stat test touch true"

// Busybox returns the path of a busybox that needs no libraries.
func Busybox(t testing.TB) string {
	t.Helper()
	path, err := installed("busybox", "busybox-static")
	Check(t, err)
	return path
}

// BusyboxImage writes an OCI archive of a small image that processes can run in, under a name, to path. Its PATH is /bin.
func BusyboxImage(t testing.TB, path, name string) {
	t.Helper()
	data, err := os.ReadFile(Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(t.TempDir(), "busybox.tar")
	if err := errors.Join(writeBusybox(layer, data), WriteImage(path, Image{Name: name, Layers: []string{layer}})); err != nil {
		t.Fatal(fmt.Errorf("make an image of busybox: %w", err))
	}
}

func writeBusybox(path string, program []byte) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	headers := []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	}
	for name := range strings.FieldsSeq(busyboxApplets) {
		headers = append(headers, tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
	}
	for i := range headers {
		headers[i].ModTime = imageTime
		if err := w.WriteHeader(&headers[i]); err != nil {
			return err
		}
		if headers[i].Size > 0 {
			if _, err := w.Write(program); err != nil {
				return err
			}
		}
	}
	return w.Close()
}
