package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/fault"
)

// errOrdinaryUser means that the embedded engine does not unpack for this user.
var errOrdinaryUser = fmt.Errorf("%w", ErrNeedsRoot)

// toldFile marks a root whose user has been told that images are not unpacked.
const toldFile = "told-not-unpacked"

// MayUnpack reports whether images can be unpacked here, like [Engine.Unpacks]. It
// is for images that can be used without a snapshot, so it returns a warning where
// Unpacks returns an error. For ordinary users of the embedded engine there is no
// warning, since they can never unpack: Notify is called instead, once per root.
func (e *Engine) MayUnpack() (ok bool, warning error) {
	err := e.Unpacks()
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, errOrdinaryUser):
		return false, fmt.Errorf("the image is not unpacked: %w", err)
	}
	e.tellOnce(toldFile, "images are stored and not unpacked here, since that takes root; this is said once")
	return false, nil
}

// tellOnce passes a line to the user, unless the file exists in the root, and makes
// the file. If it cannot make the file, the line is repeated next time.
func (e *Engine) tellOnce(file, line string) {
	f, err := os.OpenFile(filepath.Join(e.Root, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err == nil {
		_ = f.Close() // It is empty.
	}
	e.notify(line)
}

// Unpacks returns nil if layers can be applied to snapshots, else an error that
// says why not and what works instead. A daemon applies layers itself, so with one
// it is always nil. The embedded engine tries a mount, once: unmounting syncs the
// file system, which is slow.
func (e *Engine) Unpacks() error {
	e.unpacksOnce.Do(func() { e.unpacksErr = e.unpacks() })
	return e.unpacksErr
}

func (e *Engine) unpacks() error {
	if e.stores == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: %w", ErrCannotUnpack, &fault.Error{Kind: errOrdinaryUser})
	}
	if err := Capable(); err != nil {
		return fmt.Errorf("%w: %w", ErrCannotUnpack, fault.Mark(ErrNeedsRoot, fmt.Errorf("%w (%w)", ErrNeedsRoot, err)))
	}
	if err := e.stores.broken[e.Snapshotter]; err != nil {
		return fmt.Errorf("%w: %w", ErrCannotUnpack, &fault.Error{Kind: ErrSnapshotterUnusable, Op: "snapshotter", Ref: e.Snapshotter, Err: err})
	}
	if e.Snapshotter != "overlayfs" || e.stores.reading {
		return nil
	}
	// Overlayfs cannot be stacked on itself, as in most containers.
	if err := overlayutils.SupportsMultipleLowerDir(snapshotterRoot(e.Root, e.Snapshotter)); err != nil {
		return fmt.Errorf("%w: %w", ErrCannotUnpack, &fault.Error{
			Kind: ErrSnapshotterUnusable, Op: "snapshotter", Ref: e.Snapshotter, Err: fmt.Errorf("overlayfs does not work on %s: %w", e.Root, err),
		})
	}
	return nil
}

// Capable returns nil if this process may create every kind of file that a layer
// can hold, and read every file of a root file system. Else the error names what
// is missing: root in a container or under systemd often lacks something. This is
// checked beforehand because unpacking does not always fail: without CAP_FSETID,
// files silently lose their setgid bit.
func Capable() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, // mounts, and overlayfs's attributes
		{unix.CAP_CHOWN, "CAP_CHOWN"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
		{unix.CAP_FOWNER, "CAP_FOWNER"},
		{unix.CAP_FSETID, "CAP_FSETID"},
		{unix.CAP_MKNOD, "CAP_MKNOD"}, // devices, and whiteouts
		{unix.CAP_SETFCAP, "CAP_SETFCAP"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing %s", strings.Join(missing, ", "))
	}
	// A seccomp filter answers before the kernel finds that -1 is no descriptor.
	filtered, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err != nil || filtered == 0 {
		return nil //nolint:nilerr // a kernel without filters
	}
	if err := unix.Fchmod(-1, unix.S_ISUID); errors.Is(err, unix.EPERM) {
		return errors.New("a filter of system calls forbids setuid and setgid files, as RestrictSUIDSGID= of a systemd unit does")
	}
	return nil
}
