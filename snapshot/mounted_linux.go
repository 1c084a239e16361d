package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mark is by what a mount is found among others, in whatever mount namespace. It is that
// of one file system, or of a directory in one, which only that mount shows.
type Mark struct {
	// Type and Device are those of the file system, as in /proc/PID/mountinfo.
	Type   string `json:"type"`
	Device string `json:"device"`
	// Root is the directory of the file system that is mounted.
	Root string `json:"root"`
	// Source is what [Lasting] calls the ID, where it is the mount's source; else empty.
	Source string `json:"source,omitempty"`
}

// markOf returns the mark of what is mounted on a directory.
func markOf(dir string) (Mark, error) {
	found, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil {
		return Mark{}, fmt.Errorf("list mounts: %w", err)
	}
	if len(found) == 0 {
		return Mark{}, &os.PathError{Op: "find mount", Path: dir, Err: unix.ENOENT}
	}
	m := found[0]
	mark := Mark{Type: m.FSType, Device: fmt.Sprintf("%d:%d", m.Major, m.Minor), Root: m.Root}
	if m.FSType == "overlay" {
		mark.Source = m.Source
	}
	return mark, nil
}

// Is reports whether a mount shows what was marked.
func (m Mark) Is(i *mountinfo.Info) bool {
	return i != nil && i.FSType == m.Type && fmt.Sprintf("%d:%d", i.Major, i.Minor) == m.Device &&
		(i.Root == m.Root || strings.HasPrefix(i.Root, strings.TrimSuffix(m.Root, "/")+"/")) &&
		(m.Source == "" || i.Source == m.Source)
}

// Found is where a marked mount is.
type Found struct {
	// Dirs are its places in the mount namespace of this process.
	Dirs []string
	// Others are processes in other mount namespaces, one of each, that go on using it
	// when it is unmounted in this one.
	Others []Process
	// Unseen: there are processes whose mounts this one may not see.
	Unseen bool
}

// Process is a process in another mount namespace.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// String is as in "1234 (nginx)".
func (p Process) String() string { return fmt.Sprintf("%d (%s)", p.PID, p.Name) }

// Mounts are all mounts of this host, as far as this process sees them.
type Mounts struct {
	own    []*mountinfo.Info
	others map[string]*namespace // by what the kernel calls it
	unseen bool
}

// namespace is another mount namespace with its processes.
type namespace struct {
	mounts []*mountinfo.Info
	pids   []int
}

// ListMounts reads the mounts of all mount namespaces that have processes.
func ListMounts() (*Mounts, error) {
	own, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	mine, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	m := &Mounts{own: own, others: map[string]*namespace{}, unseen: hidden(own)}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			m.add(pid, mine)
		}
	}
	return m, nil
}

// hidden reports whether /proc does not list all processes.
func hidden(own []*mountinfo.Info) bool {
	for _, i := range own {
		if i.Mountpoint == "/proc" && strings.Contains(i.VFSOptions, "hidepid=") && !strings.Contains(i.VFSOptions, "hidepid=off") {
			return true
		}
	}
	return false
}

// add adds a process that is in another namespace than mine.
func (m *Mounts) add(pid int, mine string) {
	name, err := os.Readlink(procFile(pid, "ns/mnt"))
	if err == nil && name == mine {
		return
	}
	if n := m.others[name]; err == nil && n != nil {
		n.pids = append(n.pids, pid)
		return
	}
	var list []*mountinfo.Info
	if err == nil {
		list, err = mountsIn(procFile(pid, "mountinfo"))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL):
		// It has ended: a zombie's answer is EINVAL.
	case errors.Is(err, fs.ErrPermission) && ending(pid):
	case err != nil:
		m.unseen = true
	default:
		m.others[name] = &namespace{list, []int{pid}}
	}
}

// ending reports whether a process has given up its memory, as one does that ends. Until it
// is a zombie, what it uses is denied to everybody.
func ending(pid int) bool {
	data, err := os.ReadFile(procFile(pid, "statm"))
	return err != nil || strings.HasPrefix(string(data), "0 0 ")
}

func procFile(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

func mountsIn(file string) ([]*mountinfo.Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	return mountinfo.GetMountsFromReader(f, nil)
}

// Find returns where a marked mount is. dir is its place in this namespace: what the kernel
// takes away in other namespaces, when it is unmounted there, is left out.
func (m *Mounts) Find(mark Mark, dir string) Found {
	found := Found{Unseen: m.unseen}
	group := ""
	for _, i := range m.own {
		if !mark.Is(i) {
			continue
		}
		found.Dirs = append(found.Dirs, i.Mountpoint)
		if i.Mountpoint == dir {
			group = peerGroup(byID(m.own, i.Parent), "shared:")
		}
	}
	for _, n := range m.others {
		for _, i := range n.mounts {
			if !mark.Is(i) || follows(byID(n.mounts, i.Parent), group) {
				continue
			}
			// At the same place it came along when the namespace began.
			if pid := n.user(i.ID, i.Mountpoint != dir); pid != 0 {
				found.Others = append(found.Others, processOf(pid))
				break
			}
		}
	}
	return found
}

func processOf(pid int) Process {
	name, _ := os.ReadFile(procFile(pid, "comm")) // It says who, and no more.
	return Process{pid, strings.TrimSpace(string(name))}
}

// user returns a process that is at work on a mount, 0 if none is. always: or just one that
// sees it.
func (n *namespace) user(mountID int, always bool) int {
	for _, pid := range n.pids {
		if works(pid, mountID) {
			return pid
		}
	}
	if always {
		return n.pids[0]
	}
	return 0
}

// works reports whether a process runs from a mount, is in a directory of it, or has a file
// of it open.
func works(pid, mountID int) bool {
	files := []string{"root", "cwd", "exe"}
	open, _ := os.ReadDir(procFile(pid, "fd")) // It has ended, or may not be seen: then root cannot be either.
	for _, f := range open {
		files = append(files, "fd/"+f.Name())
	}
	for _, name := range files {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, procFile(pid, name), unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
			continue // It has ended, or closed the file.
		case err != nil || st.Mask&unix.STATX_MNT_ID == 0: // before Linux 5.8
			return true
		case st.Mnt_id == uint64(mountID): //nolint:gosec // the kernel's, which is positive
			return true
		}
	}
	return false
}

// Top is what is mounted uppermost on a directory of this namespace; nil: nothing is. A mount
// over another one has that as its parent, and the same mount point.
func (m *Mounts) Top(dir string) *mountinfo.Info {
	var top *mountinfo.Info
	for _, i := range m.own {
		if i.Mountpoint == dir && (top == nil || i.Parent == top.ID) {
			top = i
		}
	}
	return top
}

// UpperOf reports whether an overlay of this namespace writes to a directory.
func (m *Mounts) UpperOf(dir string) (place string, found bool) {
	for _, i := range m.own {
		for _, o := range strings.Split(i.VFSOptions, ",") {
			if i.FSType == "overlay" && o == "upperdir="+dir {
				return i.Mountpoint, true
			}
		}
	}
	return "", false
}

func byID(list []*mountinfo.Info, id int) *mountinfo.Info {
	for _, i := range list {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// peerGroup returns the number of one kind of propagation, "" where there is none.
func peerGroup(i *mountinfo.Info, kind string) string {
	if i == nil {
		return ""
	}
	for _, field := range strings.Fields(i.Optional) {
		if group, ok := strings.CutPrefix(field, kind); ok {
			return group
		}
	}
	return ""
}

// follows reports whether what is unmounted in a group of peers is unmounted on this
// mount, too: it is one of them, or receives from them.
func follows(i *mountinfo.Info, group string) bool {
	return group != "" && (peerGroup(i, "shared:") == group || peerGroup(i, "master:") == group)
}

// unmountPatience is how long a busy mount is tried again: something that looks at
// all mounts may be at it.
const unmountPatience = time.Second

// UnmountAt unmounts what is uppermost on a directory. What is in use stays, and the error
// is unix.EBUSY.
func UnmountAt(dir string) error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Since(began) > unmountPatience {
			return &os.PathError{Op: "unmount", Path: dir, Err: err}
		}
	}
}
