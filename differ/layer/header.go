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
	whiteoutPrefix = ".wh." // image-spec, layer.md, "Whiteouts"
	opaqueMarker   = ".wh..wh..opq"
	rootName       = "." // of the root directory's own entry
	paxXattr       = "SCHILY.xattr."
	accessACL      = "system.posix_acl_access"
	defaultACL     = "system.posix_acl_default"
)

// header describes a change as a tar entry: USTAR where that can say it, PAX
// where not; no names of users, no times but the modification time in whole
// seconds, which containerd's differ writes in the same way.
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

// whiteout is the name of the entry that deletes a path.
func whiteout(p string) string {
	dir, base := path.Split(p)
	return dir + whiteoutPrefix + base
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

// latest is the last second that containerd's applier keeps; others, and those
// before 1970, it turns into 1970 (pkg/archive/time.go).
const latest = (1<<63 - 1) / 1_000_000_000

// modTime is the time to store. A directory that is there for the sake of what
// is below it has the base's. Where that depends on when the base was unpacked,
// the epoch is earlier, and makes it the same everywhere.
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

// storedXattrs returns the attributes of a tar entry. In a directory with a
// default ACL, what is unpacked inherits ACLs that it shall not have, so each
// entry there says which it has, be it none.
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

// minimalACL encodes the ACL that says no more than the mode does, so that
// the kernel stores none.
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
