package layer

import (
	"archive/tar"
	"cmp"
	"encoding/binary"
	"maps"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

const (
	rootName   = "." // name of the root directory's own entry
	paxXattr   = "SCHILY.xattr."
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// header returns a change as a tar entry. The format is USTAR if that is enough,
// else PAX. Users and groups are numbers, without names. Of the times only the
// modification time is stored, in whole seconds, as containerd's differ does it.
func header(ch *differ.Change, epoch *time.Time) *tar.Header {
	if ch.Kind == differ.Deleted {
		return &tar.Header{Typeflag: tar.TypeReg, Name: whiteout(ch.Path), ModTime: time.Unix(0, 0)}
	}
	e := &ch.Entry
	hdr := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    cmp.Or(ch.Path, rootName),
		Mode:    int64(e.Mode &^ unix.S_IFMT),
		Uid:     int(e.UID),
		Gid:     int(e.GID),
		ModTime: modTime(e, epoch),
	}
	setType(hdr, e)
	if ch.Link != "" {
		hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, ch.Link, 0
	}
	xattrs := storedXattrs(ch)
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = make(map[string]string, len(xattrs))
		}
		hdr.PAXRecords[paxXattr+name] = xattrs[name]
	}
	return hdr
}

// whiteout returns the name of the entry that deletes a path.
func whiteout(p string) string {
	dir, base := path.Split(p)
	return dir + tree.WhiteoutPrefix + base
}

func setType(hdr *tar.Header, e *tree.Entry) {
	switch e.Type() {
	case unix.S_IFDIR:
		hdr.Typeflag = tar.TypeDir
		hdr.Name += "/"
	case unix.S_IFLNK:
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, e.Link
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if e.Type() == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(e.Rdev)), int64(unix.Minor(e.Rdev))
	default:
		hdr.Typeflag, hdr.Size = tar.TypeReg, e.Size
	}
}

// latest is the last second that containerd's applier keeps. It turns later times,
// and times before 1970, into 1970 (pkg/archive/time.go).
const latest = (1<<63 - 1) / 1_000_000_000

// modTime returns the time to store: the entry's, or the epoch if that is earlier.
// A parent directory in the list has the base's time. If that time depends on when
// the base was unpacked, the epoch is earlier, so that layers are the same
// everywhere.
func modTime(e *tree.Entry, epoch *time.Time) time.Time {
	sec := e.MTime
	if epoch != nil && sec > epoch.Unix() {
		sec = epoch.Unix()
	}
	if sec < 0 || sec > latest {
		sec = 0
	}
	return time.Unix(sec, 0)
}

// storedXattrs returns the extended attributes of a tar entry. In a directory with
// a default ACL, files inherit ACLs when they are unpacked. So each entry there
// states its ACLs, even if it has none.
func storedXattrs(ch *differ.Change) map[string]string {
	e := &ch.Entry
	if !ch.DefaultACL || e.IsSymlink() {
		return e.Xattrs
	}
	all := maps.Clone(e.Xattrs)
	if all == nil {
		all = make(map[string]string, 2)
	}
	if all[accessACL] == "" {
		all[accessACL] = minimalACL(e.Mode)
	}
	if e.IsDir() && all[defaultACL] == "" {
		all[defaultACL] = noACL
	}
	return all
}

// noACL is the extended attribute of an ACL without entries: its version,
// little endian (linux/posix_acl_xattr.h). Setting it removes the ACL.
const noACL = "\x02\x00\x00\x00"

// minimalACL encodes the ACL that is equivalent to the mode. The kernel stores no
// attribute for it.
func minimalACL(mode uint32) string {
	const userObj, groupObj, other = 0x01, 0x04, 0x20
	acl := []byte(noACL)
	for _, entry := range []struct{ tag, perm uint32 }{{userObj, mode >> 6}, {groupObj, mode >> 3}, {other, mode}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(entry.tag))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(entry.perm&7))
		acl = binary.LittleEndian.AppendUint32(acl, 1<<32-1)
	}
	return string(acl)
}
