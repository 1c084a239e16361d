package filecache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// Trust says what may be remembered of a tree's files between builds.
//
// Facts are remembered by device, inode, size and times. That is right only if
// nobody but root can change a file and keep all of these, and only as long as the
// numbers mean the same file. So only the following is trusted, and everything else
// is read each time:
//
//   - Files on ext4 and btrfs that nobody but root and this user may write to. A
//     store through a shared mapping changes the times when it makes a page
//     writable, and not again: see [Cache.Settle]. On tmpfs it never does. On xfs,
//     the owners of two files can swap their contents and keep the times
//     (XFS_IOC_SWAPEXT). So of files on xfs only the fact that they have no
//     attributes is remembered, which a swap does not change.
//   - File systems that are mounted for writing. One that is mounted read-only is
//     changed from elsewhere.
//   - Disks. The file behind a loop device has an owner, who can write into it
//     while it is mounted. A network block device has a server.
//   - One mounting of one file system, from when the kernel first mounts it until
//     its last mount is gone. Another image on the same device can have the same
//     inodes and times, above all if clocks are fixed. After a crash, a file can
//     be as it was before. So what was remembered in one mounting is not used in
//     the next, and older times do no harm.
type Trust struct {
	// Mounting identifies the file system, and the time for which it is mounted,
	// among all hosts. Empty: nothing may be remembered.
	Mounting string
	// Writers identifies the users and groups whose files' content may be
	// remembered. What one user's build remembers is not used for another user.
	Writers string
	// Content: the files' content may be remembered, and not only whether they have
	// attributes.
	Content bool
	// Reason says why something may not be remembered; empty if everything may.
	Reason string
	// dev is the device of the files that this is valid for. Other subvolumes have
	// other devices.
	dev uint64
}

// TrustOf returns what may be remembered of a tree's files. fd is the tree's root,
// an open directory or file.
func TrustOf(fd int) Trust {
	var fs unix.Statfs_t
	if _, err := eintr.Retry(func() (int, error) { return 0, unix.Fstatfs(fd, &fs) }); err != nil {
		return Trust{Reason: fmt.Sprintf("its file system cannot be asked for: %v", err)}
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return Trust{Reason: "it is mounted read-only, so that something else writes to it"}
	}
	m := mounting{fd: fd}
	if err := m.find(int64(fs.Type)); err != nil {
		return Trust{Reason: err.Error()}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Trust{Reason: fmt.Sprintf("whether the host has started again cannot be told: %v", err)}
	}
	// On btrfs the file system's number is different for each subvolume. Device
	// numbers of subvolumes are reused, so they are not enough.
	t := Trust{
		Mounting: fmt.Sprintf("%s %d %x boot %s", m.sysfs, m.serial, fs.Fsid.Val, strings.TrimSpace(string(boot))),
		Writers:  ownWriters().String(),
		Content:  int64(fs.Type) != unix.XFS_SUPER_MAGIC, dev: m.dev,
	}
	if !t.Content {
		t.Reason = "on xfs two files can swap their contents and keep their times"
	}
	return t
}

// mounting describes a mounted file system.
type mounting struct {
	fd  int
	dev uint64
	// sysfs is the file system's directory in sysfs, which is made when it is
	// mounted. serial is that directory's inode number, which the kernel uses only
	// once.
	sysfs  string
	serial uint64
	// anyDisk: do not check whether others can write to its devices.
	anyDisk bool
}

// find fills in the other fields. It returns an error if the file system is not one
// that can be relied on.
func (m *mounting) find(magic int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return fmt.Errorf("it cannot be asked for its device: %w", err)
	}
	m.dev = uint64(st.Dev)
	disk := filepath.Join("/sys/dev/block", fmt.Sprintf("%d:%d", unix.Major(m.dev), unix.Minor(m.dev)))
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return m.onDisk("/sys/fs/ext4", disk)
	case unix.XFS_SUPER_MAGIC:
		return m.onDisk("/sys/fs/xfs", disk)
	case unix.BTRFS_SUPER_MAGIC:
		return m.btrfs()
	case unix.TMPFS_MAGIC:
		return errors.New("tmpfs does not tell of a file that is written through a mapping")
	}
	return fmt.Errorf("its file system, of type 0x%x, is not one whose times are known to tell of each change", magic)
}

// onDisk finds the sysfs directory of a file system on one device.
func (m *mounting) onDisk(sysfs, disk string) error {
	target, err := os.Readlink(disk)
	if err != nil {
		return fmt.Errorf("its device is not known: %w", err)
	}
	name := filepath.Base(target)
	if err := m.ownDisk(name); err != nil {
		return err
	}
	return m.identify(filepath.Join(sysfs, name))
}

// btrfs finds the sysfs directory of a file system that may be on many devices.
func (m *mounting) btrfs() error {
	// struct btrfs_ioctl_fs_info_args of linux/btrfs.h, 1 KiB.
	const fsInfo = 0x8400941f // BTRFS_IOC_FS_INFO
	var args [1024]byte
	if err := ioctlBytes(m.fd, fsInfo, args[:]); err != nil {
		return fmt.Errorf("its file system cannot be asked for: %w", err)
	}
	id := args[16:32]
	sysfs := fmt.Sprintf("/sys/fs/btrfs/%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	disks, err := os.ReadDir(filepath.Join(sysfs, "devices"))
	if err != nil || len(disks) == 0 {
		return errors.Join(errors.New("its devices are not known"), err)
	}
	for _, d := range disks {
		if err := m.ownDisk(d.Name()); err != nil {
			return err
		}
	}
	return m.identify(sysfs)
}

func (m *mounting) ownDisk(name string) error {
	if m.anyDisk {
		return nil
	}
	return ownDisk(name, maxStacked)
}

func (m *mounting) identify(sysfs string) error {
	var st unix.Stat_t
	if err := unix.Stat(sysfs, &st); err != nil {
		return fmt.Errorf("its mounting cannot be told from others: %w", &os.PathError{Op: "stat", Path: sysfs, Err: err})
	}
	m.sysfs, m.serial = sysfs, st.Ino
	return nil
}

// maxStacked is the greatest number of devices that are checked, one below the
// other. A volume of an encrypted partition of an array has three.
const maxStacked = 8

// ownDisk returns an error if anybody but root can write to the device, other than
// through the file system.
func ownDisk(name string, deeper int) error {
	for _, disk := range []string{"sd", "vd", "xvd", "nvme", "mmcblk"} {
		if strings.HasPrefix(name, disk) {
			return nil
		}
	}
	if deeper > 0 && (strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md")) {
		below, err := os.ReadDir(filepath.Join("/sys/class/block", name, "slaves"))
		if err == nil && len(below) > 0 {
			for _, d := range below {
				if err := ownDisk(d.Name(), deeper-1); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("its device %s is no disk that only this file system writes to", name)
}
