package tarball_test

import (
	"io"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/tarball"
)

// TestSpoolManyInReverse: two million files that are expected from the last to the first, as a stranger may order them,
// take a moment. To insert each where it belongs takes hours.
func TestSpoolManyInReverse(t *testing.T) {
	const files = 2_000_000
	s := new(tarball.Streams).NewSpool(t.TempDir(), 1, func(int) (io.ReadCloser, error) {
		return io.NopCloser(zeros{}), nil
	})
	record := func(i int64) *index.Record { return &index.Record{Meta: tree.Meta{Size: 1}, Offset: 512 * i} }
	for i := range int64(files) {
		s.Expect(0, record(files-i))
	}
	if _, err := s.Open(0, record(1)); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
