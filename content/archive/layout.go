package archive

import (
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
	"github.com/veneer-build/veneer/internal/reopen"
)

// ExportLayout is [Export] to a directory, which must be empty or not exist. It
// appears complete and synced to disk, or not at all.
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
	to, err := newDirSink(dir)
	if err != nil {
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, to.close(err != nil)) }()
	if err := p.write(ctx, store, to); err != nil {
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	if err := to.finish(filepath.Base(dir)); err != nil {
		return nil, fmt.Errorf("write layout %s: %w", dir, err)
	}
	return &p.result, nil
}

// dirSink writes files into a temporary directory beside the final one, and syncs
// each to disk when it is closed. Both directories are used by their descriptors,
// since others who may write to the directory above could replace them by links.
type dirSink struct {
	above *os.Root
	temp  string // its name in above
	root  *os.Root
	dirs  []string // the layout's directories, the root first
}

func newDirSink(dir string) (_ *dirSink, err error) {
	d := &dirSink{temp: "." + filepath.Base(dir) + "." + rand.Text(), dirs: []string{"."}}
	if d.above, err = os.OpenRoot(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err = d.above.Mkdir(d.temp, 0o777); err != nil {
		return nil, errors.Join(err, d.above.Close())
	}
	if d.root, err = d.above.OpenRoot(d.temp); err != nil {
		return nil, errors.Join(err, d.above.RemoveAll(d.temp), d.above.Close())
	}
	return d, nil
}

// close removes the temporary directory if writing failed.
func (d *dirSink) close(failed bool) (err error) {
	if failed {
		err = d.above.RemoveAll(d.temp)
	}
	return errors.Join(err, d.root.Close(), d.above.Close())
}

func (d *dirSink) mkdir(name string) error {
	d.dirs = append(d.dirs, name)
	return d.root.Mkdir(name, 0o777)
}

func (d *dirSink) file(name string, _ int64, data io.Reader) (err error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, data); err != nil {
		return err
	}
	return f.Sync()
}

// finish syncs the directories to disk and renames the temporary one.
func (d *dirSink) finish(name string) error {
	for _, dir := range d.dirs {
		if err := syncIn(d.root, dir); err != nil {
			return err
		}
	}
	above, _, err := lookIn(d.above, ".")
	if err != nil {
		return err
	}
	defer above.Close() // only read
	// Unlike os.Root's Rename, this also replaces an empty directory.
	if err := unix.Renameat(int(above.Fd()), d.temp, int(above.Fd()), name); err != nil {
		return err
	}
	return syncIn(d.above, ".")
}

// syncIn is [durable.SyncDir] for a directory below root.
func syncIn(root *os.Root, dir string) error {
	f, _, err := lookIn(root, dir)
	if err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(reopen.Path(f)), f.Close())
}
