package index

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

const (
	// maxLookups is the greatest number of lookups for one merge. Chains of
	// symbolic links can make short entries expensive. A real layer needs about ten
	// lookups for each entry.
	maxLookups = 1 << 30
	// maxLinks is the number of links after which continuity's RootPath fails.
	maxLinks = 255
	// maxKernelLinks is the number of links after which Linux fails:
	// path_resolution(7).
	maxKernelLinks = 40
)

// resolve resolves a name, following symbolic links inside the root, exactly as
// continuity's fs.RootPath does. A component that does not exist keeps its name. It
// returns the resolved path and the node there, or nil.
func (a *applier) resolve(name string) (string, *node, error) {
	if a.lastDir != nil && name == a.lastPath {
		return strings.Trim(name, "/"), a.lastDir, nil
	}
	if p, n, ok := a.resolvePlain(name); ok {
		if n != nil && n.dir != nil {
			a.lastPath, a.lastDir = name, n
		}
		return p, n, nil
	}
	p, err := a.rootPath(name)
	if err != nil {
		return "", nil, err
	}
	p = strings.TrimPrefix(p, "/")
	n, err := a.lookup(p)
	if errors.Is(err, unix.ENOENT) {
		return p, nil, nil
	}
	return p, n, err
}

// resolvePlain is a fast resolve for most names: clean ones without links. ok is
// false for others.
func (a *applier) resolvePlain(name string) (string, *node, bool) {
	p := strings.Trim(name, "/")
	n := a.root
	if p == "" {
		return "", n, true
	}
	for rest := p; ; {
		c, more, found := strings.Cut(rest, "/")
		if c == "" || c == "." || c == ".." || a.tooMany() {
			return "", nil, false
		}
		n = n.dir.find(c)
		switch {
		case n == nil:
			// The rest does not exist. But it must be clean as well.
			return p, nil, path.Clean("/"+p) == "/"+p
		case !found:
			return p, n, n.mode&unix.S_IFMT != unix.S_IFLNK
		case n.dir == nil:
			return "", nil, false
		}
		rest = more
	}
}

func (a *applier) tooMany() bool {
	a.lookups++
	// The context is checked rarely, since that takes longer than a lookup.
	return a.lookups > maxLookups || a.lookups%(1<<16) == 0 && a.alive() != nil
}

// tooManyError returns the error for a true tooMany.
func (a *applier) tooManyError() error {
	if err := a.alive(); err != nil {
		return err
	}
	return fmt.Errorf("more than %d lookups: %w", maxLookups, ErrLimit)
}

// lookup finds the node at a resolved path. Only the last component may be a
// symbolic link.
func (a *applier) lookup(p string) (*node, error) {
	n := a.root
	if p == "" {
		return n, nil
	}
	for c := range strings.SplitSeq(p, "/") {
		if n.dir == nil {
			return nil, unix.ENOTDIR
		}
		if n = n.dir.find(c); n == nil {
			return nil, unix.ENOENT
		}
	}
	return n, nil
}

// rootPath is continuity's fs.RootPath with the root "/".
func (a *applier) rootPath(p string) (string, error) {
	if p == "" {
		return "/", nil
	}
	links := 0
	for {
		before := links
		next, err := a.walkLinks(p, &links)
		if err != nil {
			return "", err
		}
		p = next
		if before == links {
			if next = path.Join("/", next); p == next {
				return next, nil
			}
			p = next
		}
	}
}

// walkLinks is continuity's function of that name.
func (a *applier) walkLinks(p string, links *int) (string, error) {
	dir, file := path.Split(p)
	if dir == "" || dir == "/" && file == "" {
		next, _, err := a.walkLink(p, links)
		return next, err
	}
	if file == "" {
		return a.walkLinks(dir[:len(dir)-1], links)
	}
	newdir, err := a.walkLinks(dir, links)
	if err != nil {
		return "", err
	}
	next, isLink, err := a.walkLink(path.Join(newdir, file), links)
	if err != nil || !isLink || path.IsAbs(next) {
		return next, err
	}
	return path.Join(newdir, next), nil
}

func (a *applier) walkLink(p string, links *int) (string, bool, error) {
	if *links > maxLinks {
		return "", false, fmt.Errorf("resolve %q: %w", p, unix.ELOOP)
	}
	p = path.Join("/", p)
	if p == "/" {
		return p, false, nil
	}
	n, err := a.lstat(p)
	if errors.Is(err, unix.ENOENT) {
		return p, false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("resolve %q: %w", p, err)
	}
	if n.mode&unix.S_IFMT != unix.S_IFLNK {
		return p, false, nil
	}
	*links++
	return n.link(), true, nil
}

// lstat does what lstat(2) of the joined path does in walkLinks, which relies on
// the kernel to follow links in the middle. There, links that lead out of the root
// would reach the host's files. Here they reach nothing, and rootPath resolves them
// in its next round.
func (a *applier) lstat(p string) (*node, error) {
	if len(p) > tree.MaxPath {
		return nil, unix.ENAMETOOLONG
	}
	at := []*node{a.root}
	links := 0
	for rest := strings.TrimPrefix(p, "/"); ; {
		if a.tooMany() {
			return nil, a.tooManyError()
		}
		c, more, found := strings.Cut(rest, "/")
		rest = more
		dir := at[len(at)-1]
		switch {
		case dir.dir == nil:
			return nil, unix.ENOTDIR
		case c == "..":
			if at = at[:len(at)-1]; len(at) == 0 {
				return nil, unix.ENOENT
			}
			continue
		case c == "" || c == ".":
			continue
		}
		n := dir.dir.find(c)
		switch {
		case n == nil:
			return nil, unix.ENOENT
		case !found:
			return n, nil
		case n.mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > maxKernelLinks {
				return nil, unix.ELOOP
			}
			if path.IsAbs(n.link()) {
				return nil, unix.ENOENT
			}
			rest = n.link() + "/" + rest
		default:
			at = append(at, n)
		}
	}
}
