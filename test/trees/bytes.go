package trees

import "math/rand/v2"

// FromBytes returns a generator whose small numbers are the bytes of data, one
// for each, and then all 0: what a fuzzer changes in the data changes that much
// of a tree.
func FromBytes(data []byte) *rand.Rand { return rand.New(&bytesSource{data}) }

type bytesSource struct{ data []byte }

// Uint64 implements [rand.Source]. [rand.Rand.IntN] takes its numbers from the
// highest bits, or for powers of two from the lowest.
func (s *bytesSource) Uint64() uint64 {
	// Not 0, which IntN may draw again, for ever.
	const zero = 1 << 32
	if len(s.data) == 0 {
		return zero
	}
	b := s.data[0]
	s.data = s.data[1:]
	if b == 0 {
		return zero
	}
	return uint64(b) * 0x0101_0101_0101_0101
}
