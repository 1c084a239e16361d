package delta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/ahead"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/recompress"
)

// errTooLarge ends the making of a delta that is no smaller than what it is for.
var errTooLarge = errors.New("it is too large")

// diff makes the delta of a layer and turns the layer into a [Diff]. It returns nil, and
// leaves the layer as it is, if that would not be smaller or cannot be.
func (m *making) diff(ctx context.Context, l *Layer) (_ *tardiff.Made, err error) {
	blob, err := content.ReadBlob(ctx, m.store, l.Target)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	plain, _, err := compression.Decompress(m.Steps.Reader(blob))
	if errors.Is(err, compression.ErrFormat) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer plain.Close() // only read
	var cost func(path string, size, bytes int64)
	if m.Measure != nil {
		cost = m.Measure(l.Target)
	}
	writer, err := m.writtenBy(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	verifier, to := l.DiffID.Verifier(), m.writer(l.Target.Size-1)
	tar := ahead.Start(ctx, plain, io.MultiWriter(verifier, writer))
	defer tar.Stop()
	made, err := m.old.Make(ctx, tar, to, cost)
	if errors.Is(err, errTooLarge) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := tar.Drain(); err != nil {
		return nil, err
	}
	tar.Stop()
	// What follows the compressed stream belongs to the blob's digest.
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return nil, err
	}
	if !verifier.Verified() {
		return nil, fmt.Errorf("its tar is not %s, which the config says: %w", l.DiffID, content.ErrCorrupt)
	}
	generation, err := writer.generation(ctx)
	if err != nil {
		return nil, err
	}
	l.Kind, l.Blob, l.Generation, l.Size = Diff, m.keep(to, tardiff.MediaType), generation, made.Size
	return made, nil
}

// writtenBy finds out how a layer was compressed. Of one that was compressed here it is
// known; of others the tar, which is written to it, is compressed again.
type writtenBy struct {
	known recompress.Generation
	probe *recompress.Prober // nil: it is known
	err   error              // of the probe
	blob  io.Closer
}

func (m *making) writtenBy(ctx context.Context, l *Layer) (*writtenBy, error) {
	if g, err := content.WrittenBy(ctx, m.store, l.Target.Digest); g != "" || err != nil {
		return &writtenBy{known: g}, err
	}
	ra, err := m.store.ReaderAt(ctx, l.Target)
	if err != nil {
		return nil, err
	}
	p, err := recompress.NewProber(ra, ra.Size())
	if err != nil {
		return nil, errors.Join(err, ra.Close())
	}
	return &writtenBy{probe: p, blob: ra}, nil
}

// Write implements [io.Writer]. It never fails: generation does.
func (w *writtenBy) Write(b []byte) (int, error) {
	if w.probe != nil && w.err == nil {
		_, w.err = w.probe.Write(b)
	}
	return len(b), nil
}

// generation is how the layer was compressed, or "" if that is nothing that is known. All
// of the tar was written.
func (w *writtenBy) generation(ctx context.Context) (recompress.Generation, error) {
	if w.probe == nil || w.err != nil {
		return w.known, w.err
	}
	return w.probe.Generation(ctx)
}

// Close gives up where nobody asked, and closes the blob.
func (w *writtenBy) Close() error {
	if w.probe == nil {
		return nil
	}
	w.probe.Close()
	return w.blob.Close()
}

// spoolWriter writes to the end of the spool.
type spoolWriter struct {
	w       io.Writer
	hash    hash.Hash
	n, most int64
}

// writer returns a writer for at most so many bytes.
func (m *making) writer(most int64) *spoolWriter {
	return &spoolWriter{w: io.NewOffsetWriter(m.Spool, m.end), hash: sha256.New(), most: most}
}

// Write implements [io.Writer].
func (s *spoolWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > s.most-s.n {
		return 0, errTooLarge
	}
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.n += int64(n)
	return n, err
}
