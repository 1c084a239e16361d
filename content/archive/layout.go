package archive

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
)

// ExportLayout is [Export] to a directory, which must not exist or be empty. It
// appears as a whole and is on disk then, or not at all.
func ExportLayout(ctx context.Context, store cstore.Store, dir string, items []Item, opts ExportOptions) (_ *Exported, err error) {
	p, err := newPlan(ctx, store, items, opts)
	if err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return nil, fmt.Errorf("write layout %s: the directory is not empty; choose another, or remove it: %w", dir, errdefs.ErrAlreadyExists)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	temp := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+rand.Text())
	if err := os.Mkdir(temp, 0o777); err != nil { //nolint:gosec // as the umask has it, like any new directory
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	to := &dirSink{dirs: []string{temp}}
	if err := p.write(ctx, store, to); err != nil {
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	if err := to.finish(dir); err != nil {
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	return &p.result, nil
}

// dirSink writes files that are on disk when they are closed.
type dirSink struct{ dirs []string } // the root first

func (d *dirSink) mkdir(name string) error {
	dir := filepath.Join(d.dirs[0], name)
	d.dirs = append(d.dirs, dir)
	return os.Mkdir(dir, 0o777) //nolint:gosec // as the umask has it
}

func (d *dirSink) file(name string, _ int64, data io.Reader) (err error) {
	f, err := os.OpenFile(filepath.Join(d.dirs[0], name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // as the umask has it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, data); err != nil {
		return err
	}
	return f.Sync()
}

// finish makes the names durable and gives the directory its own.
func (d *dirSink) finish(name string) error {
	for _, dir := range d.dirs {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	// Unlike os.Rename, also over an empty directory.
	if err := unix.Rename(d.dirs[0], name); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(name))
}

// OpenLayout opens an OCI image layout in a directory as the archive that
// [Import] reads. Links do not lead out of the directory. The caller closes it.
func OpenLayout(dir string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	r, w := io.Pipe()
	go func() {
		defer root.Close()
		tw := tar.NewWriter(w)
		err := tw.AddFS(root.FS())
		_ = w.CloseWithError(errors.Join(err, tw.Close())) // never fails
	}()
	return r, nil
}
