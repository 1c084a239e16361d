package unpack

import (
	"archive/tar"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	cfs "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// dirTimes are the times of a layer's directories, in the order in which they are set:
// when all else is done, since what is made in a directory changes its time.
type dirTimes struct {
	list []dirTime
	most int // at which length the list is looked through for names that came twice
}

type dirTime struct {
	name  string
	times []unix.Timespec
}

// timesKept is a length of the list that needs no looking through.
const timesKept = 1 << 14

func (t *dirTimes) add(h *tar.Header) {
	if len(t.list) >= max(t.most, timesKept) {
		t.compact()
		t.most = 2 * len(t.list)
	}
	t.list = append(t.list, dirTime{h.Name, timesOf(h)})
}

// compact keeps the last of each name.
func (t *dirTimes) compact() {
	seen := make(map[string]bool, len(t.list))
	slices.Reverse(t.list)
	t.list = slices.DeleteFunc(t.list, func(d dirTime) bool {
		had := seen[d.name]
		seen[d.name] = true
		return had
	})
	slices.Reverse(t.list)
}

// setDirTimes sets the times of what the directories' names lead to by now.
func (a *applier) setDirTimes(ctx context.Context) error {
	for _, t := range a.times.list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.setDirTime(ctx, t); err != nil {
			return fmt.Errorf("unpack %q: set times: %w", t.name, err)
		}
	}
	return nil
}

func (a *applier) setDirTime(ctx context.Context, t dirTime) error {
	name := t.name
	for followed := false; ; followed = true {
		parent, base := filepath.Split(name)
		d, err := a.dirs.resolve(ctx, parent, false)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if followed || st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return setTimes(d.fd, base, t.times)
		}
		actual, err := cfs.RootPath(a.dirs.root, name)
		if err != nil {
			return err
		}
		if name = a.dirs.below(actual); name == "" {
			return setTimes(a.dirs.top.fd, ".", t.times)
		}
	}
}
