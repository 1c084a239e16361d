package durable

import (
	"errors"
	"io/fs"
	"os"
)

// SyncDir makes the names in a directory durable: fsync(2) of a file "does not
// necessarily ensure that the entry in the directory containing the file has
// also reached disk". A directory that may be written but not read cannot be
// synced; that is no error.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
