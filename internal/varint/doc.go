// Package varint reads and writes numbers of variable length, as encoding/binary
// has them, and strings after their lengths.
package varint
