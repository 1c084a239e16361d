package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/opencontainers/go-digest"
)

// Key is the digest of all that a step's result depends on.
type Key digest.Digest

// Hash makes a key of its parts. Each part is written with its length, so that
// no two lists of parts are the same bytes.
type Hash struct{ h hash.Hash }

// NewHash begins the key of a step of some kind. The kind also stands for the rules
// of such steps: if the rules change, the kind must get another name.
func NewHash(kind string) *Hash {
	h := &Hash{h: sha256.New()}
	h.Add([]byte(kind))
	return h
}

// Add adds a part.
func (h *Hash) Add(part []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(part)))
	h.h.Write(length[:])
	h.h.Write(part)
}

// AddString adds a part.
func (h *Hash) AddString(part string) { h.Add([]byte(part)) }

// AddInt adds a number.
func (h *Hash) AddInt(n int64) { h.Add(binary.BigEndian.AppendUint64(nil, uint64(n))) }

// Key is the key of what was added so far.
func (h *Hash) Key() Key { return Key(digest.NewDigest(digest.SHA256, h.h)) }
