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
	// maxLookups bounds the work of resolving names, which short entries
	// can make long through chains of symbolic links: an honest layer needs
	// some ten lookups for each of its entries.
	maxLookups = 1 << 30
	// maxLinks is where continuity's RootPath gives up.
	maxLinks = 255
	// maxKernelLinks is where Linux does: path_resolution(7).
	maxKernelLinks = 40
)

// resolve finds where a name leads, following symbolic links inside the root,
// as fs.RootPath of continuity does, to the letter: what does not exist is no
// link, and keeps its name. It returns the resolved path and the node there,
// nil if there is none.
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

// resolvePlain does what nearly all names need: clean ones without links.
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
			// What follows cannot exist; but it has to be clean as well.
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
	// Asked seldom: a lookup takes less than the question.
	return a.lookups > maxLookups || a.lookups%(1<<16) == 0 && a.alive() != nil
}

// tooManyError is what tooMany stands for.
func (a *applier) tooManyError() error {
	if err := a.alive(); err != nil {
		return err
	}
	return fmt.Errorf("more than %d lookups: %w", maxLookups, ErrLimit)
}

// lookup finds a resolved path; no component is a symbolic link but the last.
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
	return n.rec.Link, true, nil
}

// lstat is what lstat(2) of the joined path finds on the way of walkLinks,
// which relies on the kernel for links in the middle. Links that lead out of
// the root would meet the host's files there; here they meet nothing, and
// rootPath resolves them in its next round.
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
			if path.IsAbs(n.rec.Link) {
				return nil, unix.ENOENT
			}
			rest = n.rec.Link + "/" + rest
		default:
			at = append(at, n)
		}
	}
}
