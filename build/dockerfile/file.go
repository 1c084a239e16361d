package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// fileStep is a COPY, an ADD, a WORKDIR, or a file whose content is in the
// Dockerfile. It has a list of actions. Each changes the result of the one before.
type fileStep struct {
	s       *solver
	v       *vertex
	actions []*pb.FileAction
	inputs  []*state
	// bytes counts the bytes of the files that a deferred step takes. nil: the step
	// is not deferred.
	bytes *atomic.Int64
}

// file does a file operation. A deferred operation is left to the comparison of the
// result.
func (s *solver) file(ctx context.Context, v *vertex, op *pb.FileOp, inputs []*state) (*state, error) {
	f, on, err := s.newFileStep(v, op, inputs)
	if err != nil {
		return nil, err
	}
	if on, err = s.based(ctx, on, v.layered); err != nil {
		return nil, err
	}
	if !v.deferred {
		return f.do(ctx, on)
	}
	p := s.start(v, v.name())
	defer p.end(false, nil)
	st := &state{on: on, then: []*fileStep{f}, docker: on.docker, deferredBytes: &atomic.Int64{}}
	if on.on != nil {
		st.on, st.then, st.deferredBytes = on.on, append(append([]*fileStep{}, on.then...), f), on.deferredBytes
	}
	f.bytes = st.deferredBytes
	return st, nil
}

// newFileStep checks that the actions are a list, which is all that a Dockerfile
// can say, and returns the state that the first one is done on.
func (s *solver) newFileStep(v *vertex, op *pb.FileOp, inputs []*state) (*fileStep, *state, error) {
	f := &fileStep{s: s, v: v, actions: op.Actions, inputs: inputs}
	n := int64(len(inputs))
	for i, a := range op.Actions {
		last := i == len(op.Actions)-1
		if i > 0 && a.Input != n+int64(i)-1 || last && a.Output != 0 || a.SecondaryInput >= n {
			return nil, nil, fmt.Errorf("%s: file actions in this order are not supported", v.name())
		}
	}
	if len(op.Actions) == 0 {
		return nil, nil, fmt.Errorf("%s: there are no file actions", v.name())
	}
	on := scratch()
	if i := op.Actions[0].Input; i >= 0 {
		on = inputs[i]
	}
	return f, on, nil
}

// settle does the steps of a deferred state.
func (s *solver) settle(ctx context.Context, st *state) (*state, error) {
	if st.on == nil {
		return st, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.settled != nil {
		return st.settled, nil
	}
	at := st.on
	for _, f := range st.then {
		var err error
		if at, err = f.do(ctx, at); err != nil {
			return nil, f.v.located(err)
		}
	}
	st.settled = at
	return at, nil
}

// do does the step on a state.
func (f *fileStep) do(ctx context.Context, on *state) (*state, error) {
	on, err := f.s.settle(ctx, on)
	if err != nil {
		return nil, err
	}
	key, err := f.key(ctx, on)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.v.name(), err)
	}
	m, err := f.s.remade(ctx, f.v, f.s.keyed(key), func(*progress) (*graph.Made, error) {
		return f.make(ctx, on)
	}, func() (bool, error) {
		if !f.fromHost() {
			return false, nil
		}
		now, err := f.key(ctx, on)
		return now != key, err
	})
	if err != nil {
		return nil, f.v.named(err)
	}
	return on.next(m), nil
}

// fromHost reports whether files of this host are copied. Those may change in the
// meantime.
func (f *fileStep) fromHost() bool {
	for _, in := range f.inputs {
		if in.source != nil && in.source.foreign {
			return true
		}
	}
	return false
}

func (f *fileStep) make(ctx context.Context, on *state) (_ *graph.Made, err error) {
	base, err := f.s.open(ctx, on)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	changes, err := differ.NewChanges(ctx, base)
	if err != nil {
		return nil, err
	}
	opened, err := f.apply(ctx, changes)
	defer func() {
		for _, c := range opened {
			err = errors.Join(err, c.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, w := range changes.Warnings() {
		f.s.Watch.Warn(w)
	}
	return f.s.write(ctx, changes, on, f.v.layered)
}

// key covers the actions, the state that they change, and the files that they
// select.
func (f *fileStep) key(ctx context.Context, on *state) (graph.Key, error) {
	h := graph.NewHash("file 1")
	on.addTo(h)
	if f.v.sync {
		h.AddString("sync")
	}
	if e := f.s.Layers.Epoch; e != nil {
		h.AddString("epoch")
		h.AddInt(e.Unix())
	}
	for _, a := range f.actions {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
		if err != nil {
			return "", err
		}
		h.Add(data)
		c := a.GetCopy()
		if c == nil || a.SecondaryInput < 0 {
			continue
		}
		if err := f.selected(ctx, h, f.inputs[a.SecondaryInput], c); err != nil {
			return "", err
		}
	}
	return h.Key(), nil
}

// selected adds the files that a copy takes.
func (f *fileStep) selected(ctx context.Context, h *graph.Hash, from *state, c *pb.FileActionCopy) error {
	whole, err := f.s.tree(ctx, from)
	if err != nil {
		return err
	}
	paths, err := selectPaths(ctx, whole, c)
	if err != nil {
		return err
	}
	x := f.s.sums(from.source)
	for _, p := range paths {
		part, err := openPart(ctx, whole, p, c)
		if err != nil {
			return err
		}
		h.AddString(path.Base(p))
		part, err = filterTree(part, c.ExcludePatterns, c.IncludePatterns, false)
		if err != nil {
			return err
		}
		if err := x.tree(ctx, h, part); err != nil {
			return fmt.Errorf("read %s: %w", p, err)
		}
	}
	return nil
}

// apply makes the changes, and returns what has to stay open until they are
// written.
func (f *fileStep) apply(ctx context.Context, changes *differ.Changes) ([]io.Closer, error) {
	var opened []io.Closer
	for _, a := range f.actions {
		x := &action{fileStep: f, changes: changes}
		err := x.do(ctx, a)
		opened = append(opened, x.opened...)
		if err != nil {
			return opened, err
		}
	}
	return opened, nil
}

// action is one action that is being done.
type action struct {
	*fileStep
	changes *differ.Changes
	opened  []io.Closer
}

func (x *action) do(ctx context.Context, a *pb.FileAction) error {
	switch b := a.Action.(type) {
	case *pb.FileAction_Copy:
		return x.copy(ctx, a, b.Copy)
	case *pb.FileAction_Mkdir:
		return x.mkdir(ctx, b.Mkdir)
	case *pb.FileAction_Mkfile:
		return x.mkfile(ctx, b.Mkfile)
	case *pb.FileAction_Symlink:
		return x.symlink(ctx, b.Symlink)
	case *pb.FileAction_Rm:
		return x.rm(ctx, b.Rm)
	}
	return fmt.Errorf("a file action of type %T is not supported", a.Action)
}

func (x *action) mkdir(ctx context.Context, d *pb.FileActionMkDir) error {
	owner, err := x.owner(ctx, d.Owner)
	if err != nil {
		return err
	}
	if !d.MakeParents {
		if up, err := x.changes.Lookup(ctx, path.Dir(clean(d.Path))); err == nil && up == nil {
			return fmt.Errorf("make directory %s: the one above does not exist", d.Path)
		}
	}
	return x.makeDirs(ctx, d.Path, made{mode: uint32(d.Mode) & 0o777, owner: owner, mtime: x.time(d.Timestamp)})
}

func (x *action) mkfile(ctx context.Context, m *pb.FileActionMkFile) error {
	owner, err := x.owner(ctx, m.Owner)
	if err != nil {
		return err
	}
	dir, name := path.Split(clean(m.Path))
	e := file(name, uint32(m.Mode)&0o777)
	e.MTime = x.time(m.Timestamp)
	return x.put(ctx, dir, e, m.Data, owner)
}

func (x *action) symlink(ctx context.Context, l *pb.FileActionSymlink) error {
	owner, err := x.owner(ctx, l.Owner)
	if err != nil {
		return err
	}
	dir, name := path.Split(clean(l.Newpath))
	e := tree.Entry{Name: name, Meta: tree.Meta{Mode: unix.S_IFLNK | 0o777, Link: l.Oldpath, MTime: x.time(l.Timestamp)}}
	return x.put(ctx, dir, e, nil, owner)
}

// put makes one entry in a directory. It makes the directory too if it is missing.
func (x *action) put(ctx context.Context, dir string, e tree.Entry, data []byte, owner *differ.Owner) error {
	if e.Name == "" {
		return errors.New("the root directory cannot be replaced by a file")
	}
	src := newSmall()
	src.add(e, data)
	if owner == nil {
		owner = &differ.Owner{}
	}
	return x.applyTarget(ctx, differ.Target{Op: differ.Copy, Name: x.v.name(), Source: src, Dest: dir, Chown: owner})
}

func (x *action) rm(ctx context.Context, r *pb.FileActionRm) error {
	if r.AllowWildcard && hasWildcards(r.Path) {
		return fmt.Errorf("remove %s: wildcards are not supported here", r.Path)
	}
	there, err := x.changes.Lookup(ctx, clean(r.Path))
	if err != nil {
		return err
	}
	if there == nil && r.AllowNotFound {
		return nil
	}
	if there == nil {
		return fmt.Errorf("remove %s: it does not exist", r.Path)
	}
	return x.applyTarget(ctx, differ.Target{Op: differ.Delete, Name: x.v.name(), Dest: clean(r.Path)})
}

// applyTarget changes the files by one of the differ's rules.
func (x *action) applyTarget(ctx context.Context, t differ.Target) error {
	return x.changes.Apply(ctx, t, x.s.session.CompareOptions())
}

// time converts nanoseconds to seconds. -1 means that no time is given; then it is
// the begin of the build.
func (x *action) time(ns int64) int64 {
	if ns == -1 {
		return x.s.began.Unix()
	}
	return ns / 1e9
}

// clean makes a path absolute. It keeps a slash at the end, which says that the
// path is a directory.
func clean(p string) string {
	c := path.Join("/", p)
	if c != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.")) {
		return c + "/"
	}
	return c
}
