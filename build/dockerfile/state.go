package dockerfile

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// state is what a step left: the files of a snapshot, the files of a source, or
// either of them with deferred steps to be done.
type state struct {
	// snapshot is the name of the committed snapshot. It is empty if there are no
	// files.
	snapshot string
	// id identifies the files in the keys of later steps.
	id string
	// layers are the layers of the snapshot, if layered is set. A layer without a
	// diff ID is of a step that changed nothing.
	layers  []graph.Layer
	layered bool
	// docker: the media types of the base are Docker's.
	docker bool
	// base is the image whose layers are the lowest; nil: there is none.
	base *content.Image
	// image is set if the files are those of an image as it is.
	image *content.Image
	// bytes is the size of the files that the steps after the base wrote.
	bytes int64
	// made is the time of the last step. 0: there was none.
	made int64

	// source is set if the files are not those of a snapshot.
	source *source

	// on and then are set for a deferred state: the state before, and the steps to
	// be done on it.
	on   *state
	then []*fileStep
	// deferredBytes is the size of the files that the deferred steps would have
	// written. It is complete after the comparison.
	deferredBytes *atomic.Int64

	mu      sync.Mutex
	opened  tree.Tree
	settled *state
}

// addTo adds to a step's key what it is done on. The same files upon a base of
// Docker's format get a layer of another type.
func (st *state) addTo(h *graph.Hash) {
	h.AddString(st.id)
	if st.docker {
		h.AddString("docker")
	}
}

// source is files that are no snapshot's: a build context, a download.
type source struct {
	// name is for messages.
	name string
	tree tree.Tree
	// cache has the digests of files that earlier builds remembered. nil: none.
	cache *filecache.Cache
	// foreign: the owners are of this host, and mean nothing in an image. So are
	// extended attributes, which such a tree of a directory leaves out.
	foreign bool
}

func scratch() *state { return &state{layered: true} }

// tree returns the state's files, which stay open until the build is over.
func (s *solver) tree(ctx context.Context, st *state) (tree.Tree, error) {
	st, err := s.settle(ctx, st)
	if err != nil {
		return nil, err
	}
	if st.source != nil {
		return st.source.tree, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.opened == nil {
		t, err := s.open(ctx, st)
		if err != nil {
			return nil, err
		}
		st.opened = t
		s.closeAtEnd(t)
	}
	return st.opened, nil
}

// openSnapshot opens the files of a committed snapshot; the caller closes them.
func (s *solver) openSnapshot(ctx context.Context, name string) (tree.Tree, error) {
	if name == "" {
		return index.Merge(ctx, nil, index.MergeOptions{})
	}
	layers, err := snapshot.OpenLayers(ctx, s.client().SnapshotService(s.engine().Snapshotter), name)
	if err != nil {
		return nil, s.needsDirs(err)
	}
	stack, err := disk.OpenStack(layers.Dirs)
	if err != nil {
		return nil, errors.Join(err, layers.Close())
	}
	return openTree{rootfs.Unpacked{Tree: stack}, layers}, nil
}

// openTree closes what keeps it, too.
type openTree struct {
	tree.Tree
	also io.Closer
}

func (o openTree) Close() error { return errors.Join(o.Tree.Close(), o.also.Close()) }

// next returns the state after a step that was done on this one.
func (st *state) next(m *graph.Made) *state {
	n := &state{snapshot: m.Snapshot, id: m.ID, layered: st.layered && m.Layered, docker: st.docker, base: st.base, bytes: st.bytes + m.Bytes, made: m.Time}
	if n.snapshot == st.snapshot {
		n.image = st.image // Nothing was changed.
	}
	if !n.layered {
		return n
	}
	n.layers = append(append([]graph.Layer{}, st.layers...), graph.Layer{})
	if m.Layer != nil {
		n.layers[len(n.layers)-1] = *m.Layer
	}
	return n
}

// chain returns the name of the snapshot of a layer on another snapshot, whose name
// need not be a chain ID.
func chain(parent string, diffID digest.Digest) string {
	return snapshot.ChainID(digest.Digest(parent), diffID).String()
}
