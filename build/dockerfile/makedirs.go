package dockerfile

import (
	"context"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// made has the metadata of directories that are made. dir: they are made for a
// directory, and not for a file.
type made struct {
	mode  uint32
	owner *differ.Owner
	mtime int64
	dir   bool
}

// makeDirs makes a directory and those above it, as far as they are missing. If the
// path leads through a dangling link, the directories are made where the link
// points to.
func (x *action) makeDirs(ctx context.Context, at string, m made) error {
	at, err := x.changes.Resolve(ctx, at)
	if err != nil {
		return err
	}
	missing, above, err := x.uppermost(ctx, at)
	if missing == "" || err != nil {
		return err
	}
	m.inherit(above)
	rest := strings.TrimPrefix(at, missing)
	for p, names := missing, strings.Split(strings.TrimPrefix(rest, "/"), "/"); ; names = names[1:] {
		src := newSmall()
		e := tree.Entry{Name: path.Base(p), Meta: tree.Meta{Mode: unix.S_IFDIR | m.mode, MTime: m.mtime}}
		src.add(e, nil)
		err := x.applyTarget(ctx, differ.Target{Op: differ.Copy, Name: x.v.name(), Source: src, Dest: path.Dir(p), Chown: m.owner, DirLinks: differ.FollowDirLinks})
		if err != nil || len(names) == 0 || names[0] == "" {
			return err
		}
		p = path.Join(p, names[0])
	}
}

// uppermost returns the first directory of a path that is not there, and the
// directory above it. Nothing is missing if the first is empty.
func (x *action) uppermost(ctx context.Context, at string) (missing string, above *tree.Entry, err error) {
	for p := at; ; p = path.Dir(p) {
		e, err := x.changes.Follow(ctx, p)
		switch {
		case err != nil:
			return "", nil, err
		case e != nil && !e.IsDir():
			return "", nil, fmt.Errorf("%s is not a directory in the image", p)
		case e != nil || p == "/":
			return missing, e, nil
		}
		missing = p
	}
}

// inherit gives a new directory what mkdir(2) would: the group of a directory with
// the set-group-ID bit, and the bit.
func (m *made) inherit(above *tree.Entry) {
	owner := differ.Owner{}
	if above != nil && above.Mode&unix.S_ISGID != 0 {
		m.mode |= unix.S_ISGID
		owner.GID = above.GID
	}
	if m.owner == nil {
		m.owner = &owner
	}
}
