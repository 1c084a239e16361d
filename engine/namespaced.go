package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// namespacedFile marks a root that was used in a user namespace. It has the name of
// the snapshotter in it that was found to work there.
const namespacedFile = "in-user-namespace"

// HasNamespaced reports whether a root has been used in a user namespace
// ([Options].Namespaced). There can be files in it then that belong to other users
// than its owner: those that the owner has in /etc/subuid. Only in such a namespace
// can they be read and removed.
func HasNamespaced(root string) bool {
	_, err := os.Lstat(filepath.Join(root, namespacedFile))
	return err == nil
}

// namespacedSnapshotter is the snapshotter that works there; empty: it is not known.
func namespacedSnapshotter(root string) string {
	data, err := os.ReadFile(filepath.Join(root, namespacedFile))
	if _, ok := snapshotterOpeners()[string(data)]; err != nil || !ok {
		return ""
	}
	return string(data)
}

// enterNamespace marks the root before anything is unpacked in it. Where overlayfs
// does not work and orNative is set, the engine's snapshotter becomes native: before
// Linux 5.11 overlayfs cannot be mounted in a user namespace, and on some file
// systems never. That is found out once, so that all images are in one of them.
func (e *Engine) enterNamespace(orNative bool) error {
	known := namespacedSnapshotter(e.Root)
	if orNative && known == "" {
		known = e.Snapshotter
		if err := e.unpacks(); errors.Is(err, ErrSnapshotterUnusable) && e.stores.broken["native"] == nil {
			e.notify(fmt.Sprintf("taking the snapshotter native, which copies all files for each step: %v", err))
			known = "native"
		}
		e.Snapshotter = known
	}
	path := filepath.Join(e.Root, namespacedFile)
	if was, err := os.ReadFile(path); err == nil && string(was) == known {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(known), 0o600)
}
