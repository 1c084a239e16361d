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
	text int // bytes of the names
	// most and mostText are at which length the list is looked through for names that
	// came twice.
	most, mostText int
}

type dirTime struct {
	name  string
	times []unix.Timespec
}

const (
	// timesKept and textKept are lengths of the list that need no looking through.
	timesKept = 1 << 14
	textKept  = 8 << 20
	// maxText is how many bytes the names of a layer's directories may have.
	maxText = 128 << 20
)

var errDirNames = fmt.Errorf("the names of the layer's directories have more than %d bytes", maxText)

func (t *dirTimes) add(h *tar.Header) error {
	if len(t.list) >= max(t.most, timesKept) || t.text >= max(t.mostText, textKept) {
		t.compact()
		t.most, t.mostText = 2*len(t.list), 2*t.text
	}
	if t.text > maxText {
		return errDirNames
	}
	t.list = append(t.list, dirTime{h.Name, timesOf(h)})
	t.text += len(h.Name)
	return nil
}

// compact keeps the last of each name.
func (t *dirTimes) compact() {
	seen := make(map[string]bool, len(t.list))
	slices.Reverse(t.list)
	t.list = slices.DeleteFunc(t.list, func(d dirTime) bool {
		had := seen[d.name]
		seen[d.name] = true
		if had {
			t.text -= len(d.name)
		}
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
