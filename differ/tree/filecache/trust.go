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

// Trust is what may be remembered of a tree's files between builds.
//
// What is remembered is kept under device, inode, size and times. That is right
// only where nobody but root can change a file and keep all of them, and as long
// as the numbers mean the same file. So there is a list of what is known to keep
// this, and all else is read each time:
//
//   - ext4 and btrfs, of files to which nobody but root and this user may write.
//     A store through a shared mapping moves the times when it makes a page
//     writable, and not again: see [Cache.Settle]. On tmpfs it never does. xfs
//     lets the owners of two files swap their contents and keep the times
//     (XFS_IOC_SWAPEXT); of its files only that they have no attributes is
//     remembered, which a swap leaves alone.
//   - a file system that is written to. What changes one that is mounted
//     read-only changes it from elsewhere.
//   - disks. The file behind a loop device has an owner, who can write into it
//     while it is mounted; a network block device has a server.
//   - one mounting of one file system, from when the kernel took it up to when
//     the last mount of it went. Another image in the same device can have the
//     same inodes and times, fixed clocks make that likely, and after a crash a
//     file can be what it was before. So what a mounting's files were is of no
//     use to the next one, and times older than it do no harm.
type Trust struct {
	// Mounting names the file system and the time that it is mounted for, as no
	// other on any host is named; empty: nothing may be remembered.
	Mounting string
	// Writers names the users and groups whose files' content may be remembered:
	// what one user's build remembers is of no use to another's.
	Writers string
	// Content: what files hold may be remembered, and not only what they have
	// besides.
	Content bool
	// Reason says why something may not be remembered; empty if everything may.
	Reason string
	// dev is the device of the files that it holds for: not of other subvolumes.
	dev uint64
}

// TrustOf finds out what may be remembered of a tree's files, by its root, an
// open directory or file.
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
	// On btrfs the file system's number is that of the subvolume too: device
	// numbers of subvolumes are given out again.
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

// mounting is what the kernel says of a mounted file system.
type mounting struct {
	fd  int
	dev uint64
	// sysfs is its directory there, which is made when it is mounted, and serial
	// that directory's inode number, which the kernel gives out once.
	sysfs  string
	serial uint64
	// anyDisk: do not ask whether others can write to its devices.
	anyDisk bool
}

// find fills in the rest, or says why such a file system is not relied on.
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

// onDisk finds the directory of a file system that is on one device.
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

// btrfs finds the directory of a file system that may be on many devices.
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

// maxStacked bounds how many devices are asked, one below the other: a volume
// of an encrypted partition of an array is three.
const maxStacked = 8

// ownDisk is an error unless nobody but root can write to the device other than
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
