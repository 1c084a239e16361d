package veneer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// Mounts lists what [Mount] has mounted in the engine's namespace, and what became of it,
// in the order of directories.
func Mounts(ctx context.Context, e *engine.Engine) ([]Mounted, error) {
	kept, err := lease.ListMounted(e.Context(ctx), e.Client.LeasesService())
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	all, err := snapshot.ListMounts()
	if err != nil {
		return nil, err
	}
	var list []Mounted
	for _, l := range kept {
		m := Mounted{lease: l}
		if err := json.Unmarshal([]byte(l.Note), &m.record); err != nil {
			return nil, fmt.Errorf("read what lease %s says of a mount: %w", l.ID, err)
		}
		m.fill()
		m.look(all)
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Mounted) int {
		if c := strings.Compare(a.Dir, b.Dir); c != 0 {
			return c
		}
		return a.Since.Compare(b.Since)
	})
	return list, nil
}

// look finds out what became of a mount.
func (m *Mounted) look(all *snapshot.Mounts) {
	found := all.Find(m.record.Mark, m.record.Dir)
	m.Users = found.Others
	m.places = found.Dirs
	switch {
	case slices.Contains(found.Dirs, m.record.Dir):
		m.State = MountThere
	case len(found.Dirs)+len(found.Others) > 0:
		m.State = MountElsewhere
	case m.lease.Restarted, m.lease.Ended && !found.Unseen:
		m.State = MountGone
	default:
		m.State = MountUnknown
	}
}

// others are what uses it besides its place.
func (m *Mounted) others() []string {
	var list []string
	for _, dir := range m.places {
		if dir != m.record.Dir {
			list = append(list, dir)
		}
	}
	for _, p := range m.Users {
		list = append(list, "process "+p.String())
	}
	return list
}

// Unmount ends what [Mount] mounted on a directory, and what it kept. What was written
// goes, unless it was mounted with an upper directory. If something uses it, as a process
// whose root directory it is, it stays, and the error is of kind [ErrMountBusy]. What is not
// mounted any more is only forgotten. force also forgets what cannot be seen from
// here, see [ErrMountUnseen].
func Unmount(ctx context.Context, e *engine.Engine, dir string, force bool) (*Mounted, error) {
	const op = "unmount"
	path := realPath(dir)
	list, err := mountsAt(ctx, e, path)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &Error{Kind: ErrNotMounted, Op: op, Path: path}
	}
	var last *Mounted
	for i := range list {
		m := &list[i]
		if m.State == MountUnknown && !force {
			return nil, &Error{Kind: ErrMountUnseen, Op: op, Path: path, Ref: m.Image}
		}
		if err := m.unmount(); err != nil {
			return nil, err
		}
		if err := m.forget(ctx, e); err != nil {
			return nil, fmt.Errorf("%s %s: %w", op, path, err)
		}
		last = m
	}
	return last, nil
}

// realPath is the path that mounts are known by. What does not exist any more, or does not
// answer, is taken as it is called.
func realPath(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// mountsAt are those that were mounted on a directory, the one that is there last.
func mountsAt(ctx context.Context, e *engine.Engine, path string) ([]Mounted, error) {
	all, err := Mounts(ctx, e)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(all, func(m Mounted) bool { return m.Dir != path })
	rank := map[bool]int{true: 1}
	slices.SortStableFunc(list, func(a, b Mounted) int { return rank[a.State == MountThere] - rank[b.State == MountThere] })
	return list, nil
}

// usersPatience is how long processes that use a mount may take to end: those of a service
// that has just stopped, or others that pass.
const usersPatience = 3 * time.Second

// unmount unmounts what is mounted. Afterwards nothing has it.
func (m *Mounted) unmount() error {
	if err := m.awaitOthers(); err != nil || m.State != MountThere {
		return err
	}
	all, err := snapshot.ListMounts()
	if err != nil {
		return err
	}
	if top := all.Top(m.Dir); !m.record.Mark.Is(top) {
		return m.busy("; something else is mounted over it")
	}
	if err := snapshot.UnmountAt(m.Dir); errors.Is(err, unix.EBUSY) {
		return m.busy("")
	} else if err != nil {
		return err
	}
	return m.awaitOthers() // One may have come by it meanwhile.
}

// awaitOthers looks again until nothing but its own place shows it.
func (m *Mounted) awaitOthers() error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		all, err := snapshot.ListMounts()
		if err != nil {
			return err
		}
		m.look(all)
		by := m.others()
		if len(by) == 0 {
			return nil
		}
		if time.Since(began) > usersPatience {
			return m.busy(" by " + strings.Join(by, ", "))
		}
	}
}

func (m *Mounted) busy(how string) error {
	return &Error{Kind: ErrMountBusy, Op: "unmount", Path: m.Dir, Err: fmt.Errorf("%w%s", ErrMountBusy, how)}
}

// forget removes the snapshot, the directory if it was made for it, and last the lease.
func (m *Mounted) forget(ctx context.Context, e *engine.Engine) error {
	ctx = e.Context(ctx)
	if err := snapshot.RemoveWork(ctx, e.Client, m.record.Snapshotter, m.record.Key); err != nil {
		return err
	}
	if m.record.Made {
		_ = os.Remove(m.Dir) // Only if it is empty, and nothing is mounted there.
	}
	return m.lease.Release(ctx)
}

// forgetAt forgets what is not mounted on a directory any more.
func forgetAt(ctx context.Context, e *engine.Engine, path string) error {
	list, err := mountsAt(ctx, e, path)
	if err != nil {
		return err
	}
	for i := range list {
		if m := &list[i]; m.State == MountGone {
			m.record.Made = false // It is about to be used.
			if err := m.forget(ctx, e); err != nil {
				return fmt.Errorf("forget what was mounted on %s: %w", path, err)
			}
		}
	}
	return nil
}

// forgetGone forgets what is not mounted any more, and returns its directories. look: it
// only returns them.
func forgetGone(ctx context.Context, e *engine.Engine, look bool) ([]string, error) {
	list, err := Mounts(ctx, e)
	if err != nil {
		return nil, err
	}
	var dirs []string
	var errs []error
	for i := range list {
		m := &list[i]
		if m.State != MountGone {
			continue
		}
		if !look {
			if err := m.forget(ctx, e); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		dirs = append(dirs, m.Dir)
	}
	return dirs, errors.Join(errs...)
}
