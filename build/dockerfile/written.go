package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/veneer-build/veneer/snapshot"
)

// written is how many bytes the files are that a process wrote, or changed anything
// of, as a layer holds them. What the disk needs for them is another number. Without
// a directory of just those files, as in native snapshots, it is how much more there
// is than before.
func (x *execStep) written(ctx context.Context, work *snapshot.Work) (n int64, err error) {
	found, err := work.Find(ctx)
	if err != nil {
		return 0, x.s.needsDirs(err)
	}
	after, err := fileBytes(found.Dirs[0])
	if err != nil || len(found.Dirs) > 1 || x.on.snapshot == "" {
		return after, err
	}
	before, err := snapshot.OpenLayers(ctx, x.s.client().SnapshotService(x.s.engine().Snapshotter), x.on.snapshot)
	if err != nil {
		return 0, x.s.needsDirs(err)
	}
	defer func() { err = errors.Join(err, before.Close()) }()
	was, err := fileBytes(before.Dirs[0])
	return max(0, after-was), err
}

// fileBytes is the size of the regular files below a directory.
func fileBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure what was written: %w", err)
	}
	return n, nil
}
