package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/moby/buildkit/client/llb"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil/types"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// maxRead bounds what the frontend reads of a file: a Dockerfile, a .dockerignore.
const maxRead = 16 << 20

// reference is the result of a definition, for the frontend to look at.
type reference struct {
	s   *solver
	def *pb.Definition
	v   *vertex
	// bounds are for what the frontend reads; nil: there are none.
	bounds *bounds

	mu sync.Mutex
	st *state
}

var _ gw.Reference = (*reference)(nil)

// ToState implements gw.Reference.
func (r *reference) ToState() (llb.State, error) {
	if r.v == nil {
		return llb.Scratch(), nil
	}
	op, err := llb.NewDefinitionOp(r.def)
	return llb.NewState(op), err
}

// Evaluate implements gw.Reference.
func (r *reference) Evaluate(ctx context.Context) error {
	_, err := r.state(ctx)
	return err
}

func (r *reference) state(ctx context.Context) (*state, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.st != nil {
		return r.st, nil
	}
	st, err := r.s.solve(ctx, r.v)
	if err == nil {
		r.st = st
	}
	return st, err
}

// files are the files as they can be asked for.
func (r *reference) files(ctx context.Context) (*differ.Changes, error) {
	st, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	t, err := r.s.tree(ctx, st)
	if err != nil {
		return nil, err
	}
	return differ.NewChanges(ctx, t)
}

// ReadFile implements gw.Reference. An error for a file that is there is kept.
func (r *reference) ReadFile(ctx context.Context, req gw.ReadRequest) ([]byte, error) {
	data, err := r.readFile(ctx, req)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.s.mu.Lock()
		defer r.s.mu.Unlock()
		r.s.unread = errors.Join(r.s.unread, err)
	}
	return data, r.bounds.read(req, data, err)
}

func (r *reference) readFile(ctx context.Context, req gw.ReadRequest) ([]byte, error) {
	files, err := r.files(ctx)
	if err != nil {
		return nil, err
	}
	e, err := files.Follow(ctx, req.Filename)
	if err != nil {
		return nil, err
	}
	if e == nil {
		if link, err := files.Lookup(ctx, req.Filename); err == nil && link != nil {
			return nil, fmt.Errorf("read %s: it is a link that leads to no file of the build context", req.Filename)
		}
		return nil, &fs.PathError{Op: "open", Path: req.Filename, Err: fs.ErrNotExist}
	}
	if !e.IsRegular() {
		return nil, fmt.Errorf("read %s: it is not a regular file", req.Filename)
	}
	data, err := files.ReadFile(ctx, req.Filename, maxRead)
	if err != nil || req.Range == nil {
		return data, err
	}
	data = data[min(req.Range.Offset, len(data)):]
	return data[:min(req.Range.Length, len(data))], nil
}

// StatFile implements gw.Reference.
func (r *reference) StatFile(ctx context.Context, req gw.StatRequest) (*types.Stat, error) {
	files, err := r.files(ctx)
	if err != nil {
		return nil, err
	}
	e, err := files.Lookup(ctx, req.Path)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, &fs.PathError{Op: "stat", Path: req.Path, Err: fs.ErrNotExist}
	}
	return statOf(path.Base(req.Path), e), nil
}

// ReadDir implements gw.Reference.
func (r *reference) ReadDir(ctx context.Context, req gw.ReadDirRequest) ([]*types.Stat, error) {
	st, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	whole, err := r.s.tree(ctx, st)
	if err != nil {
		return nil, err
	}
	part, err := differ.Subtree(ctx, kept{whole}, req.Path)
	if err != nil {
		return nil, err
	}
	_, dir, err := part.Root(ctx)
	if err != nil || dir == nil {
		return nil, errors.Join(err, fmt.Errorf("read directory %s", req.Path))
	}
	entries, err := dir.Entries(ctx)
	if err != nil {
		return nil, err
	}
	var list []*types.Stat
	for i := range entries {
		e := &entries[i]
		ok := req.IncludePattern == ""
		if !ok {
			if ok, err = path.Match(req.IncludePattern, e.Name); err != nil {
				return nil, err
			}
		}
		if ok {
			list = append(list, statOf(e.Name, e))
		}
	}
	return list, nil
}

func statOf(name string, e *tree.Entry) *types.Stat {
	mode := tree.FileMode(e.Mode)
	if e.IsSymlink() {
		mode |= fs.ModeSymlink
	}
	return &types.Stat{
		Path: name, Mode: uint32(mode), Uid: e.UID, Gid: e.GID, Size: e.Size, ModTime: e.ModTime().UnixNano(), Linkname: e.Link,
	}
}
