package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/log"

	"github.com/veneer-build/veneer/internal/durable"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/trusted"
)

// cleanupTimeout bounds what is done after the context that asked for it ended.
const cleanupTimeout = 30 * time.Second

// DefaultRoot is /var/lib/veneer for root, else $XDG_DATA_HOME/veneer, else
// ~/.local/share/veneer; empty if there is no home directory either.
func DefaultRoot() string {
	if os.Geteuid() == 0 {
		return "/var/lib/veneer"
	}
	// The XDG specification has relative paths ignored.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "veneer")
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "veneer")
	}
	return ""
}

// QuietContainerd sets the lowest level at which containerd's libraries log:
// "debug", "info", "warn", "error" or "fatal". They log to standard error by
// themselves. The level holds for the whole process.
func QuietContainerd(level string) error {
	if err := log.SetLevel(level); err != nil {
		return fmt.Errorf("set containerd's log level: %w", err)
	}
	return nil
}

// makePrivate creates a directory and its parents, for their owner only, durably.
// A directory that exists keeps its mode.
func makePrivate(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := makePrivate(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(parent)
}

// rootError says of an error that it is about the embedded engine's directory.
func rootError(root string, err error) error {
	if errors.Is(err, trusted.ErrForeign) {
		return &fault.Error{Kind: ErrRoot, Path: root, Err: fmt.Errorf("use %s for veneer's data: %w", root, err)}
	}
	return &fault.Error{Kind: ErrRoot, Op: "open embedded engine at", Path: root, Err: err}
}
