package run

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cgroupRoot is where the cgroups are: the hierarchy of v2, or a directory of the
// hierarchies of v1.
const cgroupRoot = "/sys/fs/cgroup"

// oomKilled reports whether the kernel killed a process of a cgroup because memory
// was short. It returns false if that is not known.
func oomKilled(cgroup string) bool { return oomKilledIn(cgroupRoot, cgroup) }

func oomKilledIn(root, cgroup string) bool {
	for _, path := range []string{
		filepath.Join(root, cgroup, "memory.events"),                // v2
		filepath.Join(root, "memory", cgroup, "memory.oom_control"), // v1
	} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, 4096)) // a few lines of the kernel's
		_ = f.Close()                                    // only read
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if count, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				return count != "0"
			}
		}
	}
	return false
}
