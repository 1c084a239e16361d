package zstdopt

import "math/bits"

// A length or an offset is written as a code, which has a table's probability, and as
// many bits as the code says (RFC 8878, 3.1.1.3.2.1.1).
const (
	maxLitCode   = 35
	maxMatchCode = 52
	maxOffCode   = 31

	minMatch = 3
)

var (
	litBits   = [maxLitCode + 1]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBits = [maxMatchCode + 1]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	litCodes   = codesOf(litBits[:], 64)
	matchCodes = codesOf(matchBits[:], 128)
)

// codesOf returns the codes of the smallest values: each code has 1<<bits of them.
func codesOf(bits []uint8, n int) []uint8 {
	codes := make([]uint8, 0, n)
	for code, b := range bits {
		for range 1 << b {
			if len(codes) == n {
				return codes
			}
			codes = append(codes, uint8(code)) //nolint:gosec // at most 52
		}
	}
	return codes
}

// litCode is the code of a number of literals. Its bits are the number's lowest.
func litCode(n uint32) uint8 {
	if n < uint32(len(litCodes)) { //nolint:gosec // 64
		return litCodes[n]
	}
	return uint8(bits.Len32(n) - 1 + 19) //nolint:gosec // at most 35
}

// matchCode is the code of a match's length.
func matchCode(n uint32) uint8 {
	n -= minMatch
	if n < uint32(len(matchCodes)) { //nolint:gosec // 128
		return matchCodes[n]
	}
	return uint8(bits.Len32(n) - 1 + 36) //nolint:gosec // at most 52
}

// offCode is the code of an offset's value, and the number of its bits.
func offCode(off uint32) uint8 {
	return uint8(bits.Len32(off) - 1) //nolint:gosec // at most 31
}

// A sequence is some literals and a match.
type sequence struct {
	lit, match uint32
	// off is 1 to 3 for one of the last three distances, else 3 more than the distance.
	off uint32
}

// distances are those of the last matches, the last one first.
type distances [3]uint32

// after returns the distances after a match. Directly behind another match (bare), the
// values 1 to 3 mean others (RFC 8878, 3.1.1.5).
func (d distances) after(off uint32, bare bool) distances {
	if off > 3 {
		return distances{off - 3, d[0], d[1]}
	}
	i := off - 1
	if bare {
		i++
	}
	switch i {
	case 0:
		return d
	case 1:
		return distances{d[1], d[0], d[2]}
	case 2:
		return distances{d[2], d[0], d[1]}
	default:
		return distances{d[0] - 1, d[0], d[1]}
	}
}

// repeated returns the distance that an offset's value of 1 to 3 means.
func (d distances) repeated(off uint32, bare bool) uint32 {
	return d.after(off, bare)[0]
}
