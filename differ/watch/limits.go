package watch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/internal/eintr"
)

// seen are the file systems that only this host's kernel writes to, so that it has an
// event for each change.
var seen = map[int64]bool{ //nolint:gochecknoglobals // a table
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true,
	unix.OVERLAYFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true, unix.RAMFS_MAGIC: true, unix.MSDOS_SUPER_MAGIC: true,
	unix.EXFAT_SUPER_MAGIC: true, unix.EROFS_SUPER_MAGIC_V1: true, unix.SQUASHFS_MAGIC: true, unix.REISERFS_SUPER_MAGIC: true,
	0x2fc12fc1:/* ZFS */ true, 0xca451a4e: /* bcachefs */ true, 0x7366746e: /* ntfs3 */ true, 0x3153464a: /* JFS */ true,
	unix.NILFS_SUPER_MAGIC: true,
}

// unseen tells why not all changes of a tree have events; empty: they have.
func unseen(root *disk.Local) string {
	fd, err := root.Descriptor("", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Sprintf("its file system cannot be asked for: %v", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written by it
	var st unix.Statfs_t
	if _, err := eintr.Retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return fmt.Sprintf("its file system cannot be asked for: %v", err)
	}
	if !seen[int64(st.Type)] {
		return fmt.Sprintf("it is on a file system that others may write to, too, and that tells of their changes to nobody here (type 0x%x)", st.Type)
	}
	return ""
}

// limitText tells of a failed call, and of the limit that it may be due to.
func limitText(err error, setting string) string {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EMFILE) {
		return err.Error()
	}
	value, readErr := os.ReadFile("/proc/sys/" + strings.ReplaceAll(setting, ".", "/"))
	if readErr != nil {
		return fmt.Sprintf("the kernel's limit %s is reached", setting)
	}
	return fmt.Sprintf("the kernel's limit %s is reached, which is %s for all of this user's programs; raise it with sysctl", setting, strings.TrimSpace(string(value)))
}
