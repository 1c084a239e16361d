package durable

import (
	"errors"
	"io/fs"
	"os"
)

// SyncDir makes the names in a directory durable. Syncing a file is not enough:
// fsync(2) "does not necessarily ensure that the entry in the directory containing
// the file has also reached disk". A directory that this user may write but not
// read cannot be synced, and then SyncDir returns nil.
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
