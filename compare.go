package veneer

import (
	"context"
	"os"
	"strings"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// CompareRequest names two file trees. A and B are required. Each is an image
// of the engine; an [ArchiveRef]; container:NAME, where [CommitRequest] says
// what names one; dir:PATH; or a path that exists and has a slash in it.
type CompareRequest struct {
	A, B string
	// Platform chooses from multi-platform images; empty: the host's.
	Platform string
	// Times: modification times are compared too, in whole seconds.
	Times bool
	// NoPause reads containers while they run. Otherwise they are paused meanwhile.
	NoPause bool
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Progress is told of each step; nil: nobody is.
	Progress Progress
}

// Compare tells in what B differs from A: the changes in a layer on A that would
// make it show exactly B's files, and the size of that layer. It writes nothing but
// indexes of layers to the cache. A is the base in the [DiffResult].
func Compare(ctx context.Context, e *engine.Engine, req CompareRequest) (*DiffResult, error) {
	layer, err := LayerOptions{}.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{NoCache: req.NoCache, AllowEncrypted: true}
	return measure(ctx, e, o, Reports{Progress: req.Progress}, layer, func(ctx context.Context, s *build.Session) (string, *build.Diff, error) {
		a, name, err := req.source(ctx, s, req.A)
		if err != nil {
			return "", nil, err
		}
		b, _, err := req.source(ctx, s, req.B)
		if err != nil {
			return "", nil, err
		}
		d, err := s.Compare(ctx, a, build.Exactly{Of: b, Name: req.B, Times: req.Times}, ReadAuto)
		return name, d, err
	})
}

const (
	dirPrefix       = "dir:"
	containerPrefix = "container:"
)

// source finds one of the two trees, and returns its name for messages.
func (r CompareRequest) source(ctx context.Context, s *build.Session, what string) (build.Source, string, error) {
	if id, ok := strings.CutPrefix(what, containerPrefix); ok {
		c, err := container.Find(ctx, s.Engine, id)
		return build.Container(c, r.NoPause), what, err
	}
	if dir, ok := LocalTree(what); ok {
		return build.Dir(dir), what, nil
	}
	img, err := s.Image(ctx, what, r.Platform)
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(r.A, containerPrefix) || strings.HasPrefix(r.B, containerPrefix) {
		return build.FilesInPlace(img), img.Name, nil
	}
	return build.AllFiles(img, "image"), img.Name, nil
}

// LocalTree returns the directory that A or B of a comparison names. It returns
// false if they name something else.
func LocalTree(what string) (dir string, ok bool) {
	if dir, ok := strings.CutPrefix(what, dirPrefix); ok {
		return dir, true
	}
	if !strings.Contains(what, "/") {
		return "", false
	}
	_, err := os.Stat(what)
	return what, err == nil
}
