package tree

import (
	"maps"
	"strings"
)

// KeepXattr reports whether a layer carries the extended attribute: file
// capabilities, POSIX ACLs and the user's own. All others describe the host
// that they are found on (security.selinux, trusted.overlay.*, security.ima)
// or an overlay file system's bookkeeping (user.overlay.*), and neither are
// compared nor stored.
func KeepXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// effective leaves out ACLs that the kernel does not store, since they say no
// more than the mode does, or nothing: those of up to three entries, the
// owner's, the group's and all others' (acl(5), "Correspondence between ACL
// entries and file permission bits"). Each takes 8 bytes after a header of 4.
func effective(xattrs map[string]string) map[string]string {
	kept := xattrs
	for name, most := range map[string]int{"system.posix_acl_access": 4 + 3*8, "system.posix_acl_default": 4} {
		if v, ok := xattrs[name]; ok && len(v) <= most {
			if len(kept) == len(xattrs) {
				kept = maps.Clone(xattrs)
			}
			delete(kept, name)
		}
	}
	return kept
}
