package differ

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// ReadFile returns the content of a regular file of the image, with the changes so
// far. Symbolic links are followed within the image. A file longer than limit bytes
// is an error.
func (c *Changes) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	real, err := c.resolve(ctx, name, true)
	if err != nil {
		return nil, err
	}
	f, err := c.openFile(ctx, real)
	if err != nil {
		return nil, fmt.Errorf("read the image's %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the image's %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read the image's %s: it is larger than %d bytes", name, limit)
	}
	return data, nil
}

func (c *Changes) openFile(ctx context.Context, real []string) (tree.File, error) {
	cur, err := c.show(ctx, real)
	if err != nil {
		return nil, err
	}
	if cur == nil {
		return nil, fmt.Errorf("/%s: %w", strings.Join(real, "/"), fs.ErrNotExist)
	}
	if !cur.IsRegular() {
		return nil, fmt.Errorf("/%s is not a regular file", strings.Join(real, "/"))
	}
	at := c.root
	for i, name := range real {
		_, base, err := at.lookup(ctx, name)
		if err != nil {
			return nil, err
		}
		kid := at.node.kids.get(name)
		if kid != nil && kid.state == set && !kid.entry.IsDir() {
			return kid.src.Open(kid.srcName)
		}
		if i == len(real)-1 {
			break
		}
		if kid == nil {
			at, err = at.peek(name, base)
		} else {
			at, err = at.enter(name, kid)
		}
		if err != nil {
			return nil, err
		}
	}
	return at.base.Open(real[len(real)-1])
}

// Lookup returns the image's entry at a path, with the changes so far, or nil if
// there is none. Symbolic links are not followed.
func (c *Changes) Lookup(ctx context.Context, name string) (*tree.Entry, error) {
	return c.show(ctx, components(name))
}

// Resolve returns the path without symbolic links that a path leads to in the
// image as it would be now, whether there is anything or not.
func (c *Changes) Resolve(ctx context.Context, name string) (string, error) {
	real, err := c.resolve(ctx, name, true)
	return "/" + strings.Join(real, "/"), err
}

// Follow is [Changes.Lookup] that follows symbolic links, the last component too.
func (c *Changes) Follow(ctx context.Context, name string) (*tree.Entry, error) {
	real, err := c.resolve(ctx, name, true)
	if err != nil {
		return nil, err
	}
	return c.show(ctx, real)
}
