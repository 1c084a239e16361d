package run

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoUserNamespaceSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		err      error
		settings map[string]string
		want     string
	}{
		"limit":        {unix.ENOSPC, map[string]string{"user/max_user_namespaces": "0"}, "user.max_user_namespaces="},
		"mounts":       {unix.EPERM, map[string]string{"user/max_user_namespaces": "9", "user/max_mnt_namespaces": "0"}, "user.max_mnt_namespaces="},
		"Debian's":     {unix.EPERM, map[string]string{"kernel/unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"},
		"AppArmor":     {unix.EACCES, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, "an AppArmor profile with the permission userns"},
		"allowed":      {unix.EPERM, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "0"}, "a container or a filter"},
		"kernel":       {unix.EINVAL, nil, "CONFIG_USER_NS"},
		"no such call": {unix.ENOSYS, nil, "CONFIG_USER_NS"},
	} {
		err := noUserNamespace("a user namespace", c.err, func(path string) ([]byte, error) {
			value, ok := c.settings[strings.TrimPrefix(path, "/proc/sys/")]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(value + "\n"), nil
		})
		var missing *MissingError
		if !errors.As(err, &missing) || !errors.Is(err, c.err) || !strings.Contains(missing.Advice, c.want) || !strings.Contains(missing.Advice, "as root") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
