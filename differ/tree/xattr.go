package tree

import "strings"

// KeepXattr reports whether layers carry an extended attribute: file capabilities,
// POSIX ACLs, and those of the user namespace. All others are neither compared nor
// stored. They describe the host (security.selinux, security.ima) or are internal
// to overlay file systems (trusted.overlay.*, user.overlay.*).
func KeepXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}
