package tree

import "strings"

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
