package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Key is the digest of all that a step's result depends on.
type Key digest.Digest

// Hash makes a key of its parts. Each part is written with its length, so that
// no two lists of parts are the same bytes.
type Hash struct {
	h hash.Hash
	// pending is not yet given to h: many parts are a few bytes, and a call for each
	// costs more than the hash.
	pending []byte
}

// hashBlock is how much is given to the hash at once, more or less.
const hashBlock = 4 << 10

// hashes are those that have given their key, for the next ones: a tree of many
// directories takes one for each.
var hashes = sync.Pool{New: func() any { return &Hash{h: sha256.New()} }}

// NewHash begins the key of a step of some kind. The kind also stands for the rules
// of such steps: if the rules change, the kind must get another name.
func NewHash(kind string) *Hash {
	h, _ := hashes.Get().(*Hash) // The pool holds nothing else.
	h.AddString(kind)
	return h
}

// Add adds a part.
func (h *Hash) Add(part []byte) { add(h, part) }

// AddString adds a part.
func (h *Hash) AddString(part string) { add(h, part) }

func add[T string | []byte](h *Hash, part T) {
	h.pending = append(binary.BigEndian.AppendUint64(h.pending, uint64(len(part))), part...)
	h.flush(hashBlock)
}

// AddInt adds a number.
func (h *Hash) AddInt(n int64) {
	h.pending = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(h.pending, 8), uint64(n))
	h.flush(hashBlock)
}

// flush gives the hash what is pending, if that is some bytes at least.
func (h *Hash) flush(some int) {
	if len(h.pending) >= some {
		h.h.Write(h.pending)
		h.pending = h.pending[:0]
	}
}

// Key returns the key of all that was added, and ends the use of h.
func (h *Hash) Key() Key {
	h.flush(1)
	var sum [sha256.Size]byte
	key := Key(digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(h.h.Sum(sum[:0]))))
	h.h.Reset()
	hashes.Put(h)
	return key
}
