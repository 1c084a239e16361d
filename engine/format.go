package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/veneer-build/veneer/internal/durable"
)

const (
	// formatFile holds the format of the embedded engine's directory, a number. A
	// directory without it has format 1.
	formatFile = "format"
	// format is what this version reads and writes. A version that writes what an
	// older one would misread counts it up.
	format = "1"
	// maxFormat bounds what is read of the file.
	maxFormat = 20
)

// checkFormat refuses a directory that a newer version made.
func checkFormat(root string) error {
	f, err := os.Open(filepath.Join(root, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFormat))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if got := strings.TrimSpace(string(data)); got != format {
		return fmt.Errorf("%w: it has format %q, and this version knows %s", ErrFormat, got, format)
	}
	return nil
}

// writeFormat writes the number where it is missing. That it cannot, as on a full disk,
// is no error: see [formatFile].
func writeFormat(root string) {
	name := filepath.Join(root, formatFile)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	// Under another name, and on the disk, first: a file that a power loss cut off would be
	// another number.
	temp := name + ".new"
	if err := writeSynced(temp, format+"\n"); err != nil || os.Rename(temp, name) != nil {
		_ = os.Remove(temp)
		return
	}
	_ = durable.SyncDir(root)
}

func writeSynced(name, text string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
