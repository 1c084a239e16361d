package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/tarball"
	"github.com/veneer-build/veneer/internal/fault"
)

// ErrNoSource means that a file or directory of this host that a target names, the Path,
// is not there.
var ErrNoSource = errors.New("there is no such file or directory")

// maxUserFile bounds the size of an image's /etc/passwd and /etc/group. The image may
// be a stranger's.
const maxUserFile = 4 << 20

// Opener makes targets of their specifications.
type Opener struct {
	// Changes are what the targets will be applied to. Names of owners are looked up
	// in the files that they show.
	Changes *differ.Changes
	// Workdir is what relative destinations start from.
	Workdir string
	// Spool is a directory for temporary copies of archives.
	Spool string
	// Stdin is what the source "-" reads.
	Stdin io.Reader
	// ForceDelete allows a sync of the root directory that deletes base files.
	ForceDelete bool
	// Cache returns the digests that earlier builds remembered of a source. It may be
	// nil, and may return nil.
	Cache func(context.Context, *disk.Local) *filecache.Cache
	// Local opens a directory or file of this host, of which the patterns leave out
	// files. nil: [disk.OpenLocal] does.
	Local func(ctx context.Context, name string, exclude []string) (*disk.Local, error)
	// ImageFiles opens the files of an image by its reference, and ContainerFiles
	// those of a specification's container.
	ImageFiles     func(ctx context.Context, ref string) (tree.Tree, error)
	ContainerFiles func(context.Context, Spec) (tree.Tree, error)
}

// Open opens the target's source. The caller closes the target's Source, unless it is
// nil.
func (o *Opener) Open(ctx context.Context, s Spec) (differ.Target, error) {
	t := differ.Target{
		Op: s.Op, Name: s.String(), Dest: o.absolute(s.Dest),
		Owner: s.Owner, DirLinks: s.DirLinks, ForceDelete: o.ForceDelete,
	}
	if s.Op == differ.Delete {
		return t, nil
	}
	err := o.rules(ctx, s, &t)
	if err == nil {
		err = o.source(ctx, s, &t)
	}
	if err == nil {
		if err = o.checkOnly(ctx, s, &t); err != nil {
			err = errors.Join(err, t.Source.Close())
		}
	}
	if err != nil {
		return differ.Target{}, fmt.Errorf("%s: %w", s, err)
	}
	return t, nil
}

// absolute resolves a relative destination against the image's working
// directory, as COPY does, and keeps a trailing slash.
func (o *Opener) absolute(dest string) string {
	abs := dest
	if !path.IsAbs(dest) {
		abs = path.Join("/", o.Workdir, dest)
	}
	if strings.HasSuffix(dest, "/") || dest == "." || strings.HasSuffix(dest, "/.") {
		return strings.TrimSuffix(abs, "/") + "/"
	}
	return abs
}

// source opens the target's files, and sets the default for their owners.
func (o *Opener) source(ctx context.Context, s Spec, t *differ.Target) error {
	owner := differ.OwnerSource
	var err error
	switch s.Type {
	case Tar:
		t.Source, err = o.tarSource(ctx, s)
	case Image:
		t.Source, err = o.treeSource(ctx, s, o.ImageFiles)
		t.SourceBase = path.Base(path.Join("/", s.Source))
	case Container:
		t.Source, err = o.treeSource(ctx, s, func(ctx context.Context, _ string) (tree.Tree, error) { return o.ContainerFiles(ctx, s) })
		t.SourceBase = path.Base(path.Join("/", s.Source))
	default:
		owner = differ.OwnerBase
		err = o.localSource(ctx, s, t)
	}
	if t.Owner == "" {
		t.Owner = owner
	}
	return err
}

func (o *Opener) tarSource(ctx context.Context, s Spec) (tree.Tree, error) {
	if s.Source == Stdin {
		return tarball.OpenStream(ctx, o.Stdin, "standard input", o.Spool)
	}
	t, err := tarball.Open(ctx, s.Source, o.Spool)
	return t, ofSource(s.Source, err)
}

// treeSource opens a path in the root file system that s.Ref names.
func (o *Opener) treeSource(ctx context.Context, s Spec, open func(context.Context, string) (tree.Tree, error)) (tree.Tree, error) {
	whole, err := open(ctx, s.Ref)
	if err != nil {
		return nil, err
	}
	part, err := differ.Subtree(ctx, whole, s.Source)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("source in %s: %w", s.Ref, err), whole.Close())
	}
	return part, nil
}

func (o *Opener) localSource(ctx context.Context, s Spec, t *differ.Target) error {
	open := o.Local
	if open == nil {
		open = openGuarded
	}
	l, err := open(ctx, s.Source, t.Exclude)
	if errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Kind: ErrNoSource, Path: s.Source, Err: fmt.Errorf("the source %s does not exist", s.Source)}
	}
	if err != nil {
		return ofSource(s.Source, err)
	}
	t.Source = l
	t.SourceBase = filepath.Base(s.Source)
	t.Cache = o.Cache(ctx, l)
	return nil
}

// ofSource gives the error of opening a file that is not there its kind.
func ofSource(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return &fault.Error{Kind: ErrNoSource, Path: name, Err: err}
	}
	return err
}

func openGuarded(_ context.Context, name string, _ []string) (*disk.Local, error) {
	l, err := disk.OpenLocal(name)
	if err == nil {
		l.Guard()
	}
	return l, err
}

// rules sets which files take part, and how their modes and owners change.
func (o *Opener) rules(ctx context.Context, s Spec, t *differ.Target) error {
	var err error
	if t.Exclude, err = excludes(ctx, s); err != nil {
		return err
	}
	if s.Chmod != "" {
		if t.Chmod, err = parseChmod(s.Chmod); err != nil {
			return err
		}
	}
	if s.Chown != "" {
		if t.Chown, err = o.owner(ctx, s.Chown); err != nil {
			return fmt.Errorf("chown=%s: %w", s.Chown, err)
		}
	}
	return nil
}

func excludes(ctx context.Context, s Spec) ([]string, error) {
	only, err := onlyPatterns(s.Only)
	if err != nil || s.IgnoreFile == "" {
		return append(only, s.Exclude...), err
	}
	patterns, err := IgnorePatterns(ctx, s)
	if err != nil {
		return nil, ofSource(s.IgnoreFile, err)
	}
	return slices.Concat(only, patterns, s.Exclude), nil
}

// owner looks up USER[:GROUP] in the image. As for COPY --chown, a user's name
// alone brings the group that /etc/passwd says, and a number the group of the
// same number.
func (o *Opener) owner(ctx context.Context, spec string) (*differ.Owner, error) {
	name, group, both := strings.Cut(spec, ":")
	uid, gid, err := o.id(ctx, name, "/etc/passwd", "user")
	if err != nil {
		return nil, err
	}
	if both {
		if gid, _, err = o.id(ctx, group, "/etc/group", "group"); err != nil {
			return nil, err
		}
	}
	return &differ.Owner{UID: uid, GID: gid}, nil
}

// id returns the number of a user or group: name itself if it is a number, else what a
// file of the image says. For a user, gid is the user's group.
func (o *Opener) id(ctx context.Context, name, file, what string) (id, gid uint32, err error) {
	if n, ok := parseID(name); ok {
		return n, n, nil
	}
	data, err := o.Changes.ReadFile(ctx, file, maxUserFile)
	if err != nil {
		return 0, 0, fmt.Errorf("look up %s %q: %w", what, name, err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":") // passwd(5), group(5)
		if fields[0] != name || name == "" || len(fields) < 3 {
			continue
		}
		id, ok := parseID(fields[2])
		if ok && what == "user" && len(fields) > 3 {
			gid, ok = parseID(fields[3])
		}
		if !ok {
			return 0, 0, fmt.Errorf("look up %s %q: the image's %s has no valid number for it; use a number", what, name, file)
		}
		return id, gid, nil
	}
	return 0, 0, fmt.Errorf("the image's %s has no %s %q; use a number", file, what, name)
}

// parseID reads the number of a user or group. It refuses the highest 32-bit number,
// which means "no change" to chown(2).
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
