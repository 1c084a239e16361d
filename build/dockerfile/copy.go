package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/tarball"
	"github.com/veneer-build/veneer/internal/compression"
)

// copy is COPY and ADD, of one source.
func (x *action) copy(ctx context.Context, a *pb.FileAction, c *pb.FileActionCopy) error {
	from := scratch()
	if a.SecondaryInput >= 0 {
		from = x.inputs[a.SecondaryInput]
	}
	whole, err := x.s.tree(ctx, from)
	if err != nil {
		return err
	}
	if err := required(ctx, whole, c); err != nil {
		return err
	}
	paths, err := selectPaths(ctx, whole, c)
	if err != nil {
		return err
	}
	if len(paths) == 0 && !c.AllowEmptyWildcard {
		return fmt.Errorf("%s: nothing in %s matches it", c.Src, describe(from))
	}
	for _, p := range paths {
		part, err := openPart(ctx, whole, p, c)
		if err != nil {
			return fmt.Errorf("in %s: %w", describe(from), err)
		}
		if err := x.copyPart(ctx, part, path.Base(p), from, c); err != nil {
			return err
		}
	}
	return nil
}

// describe names what is copied from, for messages.
func describe(st *state) string {
	if st.source != nil {
		return st.source.name
	}
	return "the stage"
}

// required returns an error if a path is missing that must exist, even though
// patterns choose what is copied.
func required(ctx context.Context, whole tree.Tree, c *pb.FileActionCopy) error {
	for _, p := range c.RequiredPaths {
		if _, err := differ.Subtree(ctx, kept{whole}, clean(p)); err != nil {
			return missing(clean(p), err)
		}
	}
	return nil
}

// openPart opens what is at one path of the source.
func openPart(ctx context.Context, whole tree.Tree, p string, c *pb.FileActionCopy) (tree.Tree, error) {
	if !c.FollowSymlink {
		// The frontend always asks to follow links, except in files that it made
		// itself, which contain no links.
		p = path.Clean(p)
	}
	part, err := differ.Subtree(ctx, kept{whole}, p)
	return part, missing(p, err)
}

// copyPart copies a file or a directory. If it is copied into a directory, it is
// called name there.
func (x *action) copyPart(ctx context.Context, part tree.Tree, name string, from *state, c *pb.FileActionCopy) error {
	root, dir, err := part.Root(ctx)
	if err != nil {
		return err
	}
	t := differ.Target{
		Op: differ.Copy, Name: x.v.name(), SourceBase: name, Dest: clean(c.Dest),
		Owner: differ.OwnerSource, Exclude: c.ExcludePatterns, DirLinks: differ.FollowDirLinks, KeepTypes: true,
	}
	if from.source != nil {
		t.Cache = from.source.cache
	}
	if dir == nil && c.AttemptUnpackDockerCompatibility {
		if done, err := x.unpack(ctx, part, t, c); done || err != nil {
			return err
		}
	}
	if dir != nil && !c.DirCopyContents && name != "/" {
		if t.Dest, err = x.below(ctx, t.Dest, name); err != nil {
			return err
		}
	}
	if t.Source, err = x.included(part, c); err != nil {
		return err
	}
	if err := x.shape(ctx, &t, c); err != nil {
		return err
	}
	if x.v.sync {
		asSync(&t, from)
	}
	if err := x.parents(ctx, &t, c, made{mtime: root.MTime, dir: dir != nil}); err != nil {
		return err
	}
	return x.applyTarget(ctx, t)
}

// below returns where to put a directory that is copied as a whole: into the
// destination, if that is a directory already.
func (x *action) below(ctx context.Context, dest, name string) (string, error) {
	there, err := x.isDir(ctx, dest)
	if err != nil || !there {
		return dest, err
	}
	return path.Join(dest, name), nil
}

// included returns what the patterns of the instruction choose of a part.
func (x *action) included(part tree.Tree, c *pb.FileActionCopy) (tree.Tree, error) {
	t, err := filterTree(part, nil, c.IncludePatterns, false)
	if err != nil || x.bytes == nil {
		return t, err
	}
	return tallied(t, x.bytes), nil
}

// asSync turns a COPY into a SYNC: paths that the source does not have are deleted.
// Local files keep the owners of the base, unless there is a --chown.
func asSync(t *differ.Target, from *state) {
	t.Op, t.ForceDelete, t.KeepTypes = differ.Sync, true, false
	if from.source != nil && from.source.foreign && t.Chown == nil {
		t.Owner = differ.OwnerBase
	}
}

// shape sets the owner and the modes of the copied files.
func (x *action) shape(ctx context.Context, t *differ.Target, c *pb.FileActionCopy) error {
	var err error
	if t.Chown, err = x.owner(ctx, c.Owner); err != nil {
		return err
	}
	switch {
	case c.ModeStr != "":
		if t.Chmod, err = target.SymbolicMode(c.ModeStr); err != nil {
			return fmt.Errorf("chmod %s: %w", c.ModeStr, err)
		}
	case c.Mode != -1:
		t.Chmod = target.SetMode(uint32(c.Mode))
	}
	return nil
}

// parents makes the directories that the destination needs. They belong to whom
// the files do, and have the permissions that are given as a number: no more of the
// mode, as BuildKit has it.
func (x *action) parents(ctx context.Context, t *differ.Target, c *pb.FileActionCopy, m made) error {
	m.mode, m.owner = 0o755, t.Chown
	if c.ModeStr == "" && c.Mode != -1 {
		m.mode = uint32(c.Mode) & 0o777
	}
	at := t.Dest
	if !m.dir && !strings.HasSuffix(at, "/") {
		at = path.Dir(at)
	}
	if x.v.sync && m.dir {
		// The source has the metadata of the destination itself.
		at = path.Dir(strings.TrimSuffix(at, "/"))
	}
	return x.makeDirs(ctx, at, m)
}

// isDir reports whether the path is a directory now. It follows links.
func (x *action) isDir(ctx context.Context, at string) (bool, error) {
	e, err := x.changes.Follow(ctx, at)
	if err != nil {
		return false, err
	}
	return e != nil && e.IsDir(), nil
}

// unpack does the ADD of an archive: the files get the owners and modes of the
// archive. done is false if the source is no archive.
func (x *action) unpack(ctx context.Context, part tree.Tree, t differ.Target, c *pb.FileActionCopy) (done bool, err error) {
	f, err := part.Open()
	if err != nil {
		return false, err
	}
	packed, err := isArchive(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("unpack %s: %w", t.SourceBase, err)
	}
	if !packed {
		return false, nil
	}
	if f, err = part.Open(); err != nil {
		return false, err
	}
	defer f.Close()
	if t.Source, err = tarball.OpenStream(ctx, f, t.SourceBase, x.s.session.Roots.Spool); err != nil {
		return false, err
	}
	x.opened = append(x.opened, t.Source)
	if t.Chown, err = x.owner(ctx, c.Owner); err != nil {
		return false, err
	}
	t.Cache, t.Exclude, t.KeepTypes = nil, nil, false // As tar does, and Docker.
	if err := x.makeDirs(ctx, t.Dest, made{mode: 0o755, owner: t.Chown, mtime: x.s.began.Unix()}); err != nil {
		return false, err
	}
	return true, x.applyTarget(ctx, t)
}

// isArchive looks at the first bytes: a tar, which may be compressed as Docker takes
// it. What is damaged there is none, and copied. What needs too much memory is an
// error.
func isArchive(r io.Reader) (bool, error) {
	zr, _, err := compression.DecompressArchive(r)
	if err == nil {
		defer zr.Close()
		head := make([]byte, 512)
		if _, err = io.ReadFull(zr, head); err == nil {
			return isTar(head), nil
		}
	}
	if errors.Is(err, compression.ErrWindow) {
		return false, err
	}
	return false, nil
}

// isTar reports whether a block is the header of a tar's entry, by its checksum
// (POSIX.1, pax, "ustar Interchange Format").
func isTar(block []byte) bool {
	var want, got int64
	if _, err := fmt.Sscanf(strings.Trim(string(block[148:156]), " \x00"), "%o", &want); err != nil {
		return false
	}
	for i, b := range block {
		if i >= 148 && i < 156 {
			b = ' '
		}
		got += int64(b)
	}
	return got == want && got != 8*' '
}
