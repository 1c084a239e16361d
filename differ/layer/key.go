package layer

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// Key returns the digest of all that the bytes of the changes' layer depend on, and
// reads no file for it. ok is false where the content of one is not known. Two layers
// of one key are the same bytes.
func Key(changes *differ.Changes, o Options) (key tree.Digest, ok bool, err error) {
	k := newKeyHash(o)
	err = changes.Each(func(ch *differ.Change) error {
		hdr, sum := header(ch, o.Epoch), tree.Digest{}
		if hdr.Typeflag == tar.TypeReg && ch.Kind != differ.Deleted {
			if sum = ch.Known(); !sum.Known() {
				return errUnknown
			}
		}
		k.add(hdr, ch.Fresh, sum)
		return nil
	})
	if errors.Is(err, errUnknown) {
		return tree.Digest{}, false, nil
	}
	return k.sum(), err == nil, err
}

// errUnknown ends the making of a key.
var errUnknown = errors.New("the content of a file is not known")

// keyHash makes the key of a layer of its entries, in their order. All that is added
// has its length before it, so that no two layers are the same bytes.
type keyHash struct {
	h   hash.Hash
	buf []byte
}

// newKeyHash begins with what turns entries into bytes. The number is of this
// package's own rules: where those change, so must it.
func newKeyHash(o Options) *keyHash {
	k := &keyHash{h: sha256.New()}
	k.text("layer 1")
	k.text(string(o.Compression))
	k.number(int64(o.Level))
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasPrefix(m.Path, "github.com/klauspost/") { // the compressors
				k.text(m.Path + " " + m.Version)
			}
		}
		k.text(info.GoVersion) // of archive/tar
	}
	return k
}

func (k *keyHash) text(s string) {
	k.number(int64(len(s)))
	k.buf = append(k.buf, s...)
}

func (k *keyHash) number(n int64) { k.buf = binary.BigEndian.AppendUint64(k.buf, uint64(n)) } //nolint:gosec // as bits

func (k *keyHash) add(hdr *tar.Header, fresh bool, content tree.Digest) {
	kind := int64(hdr.Typeflag) << 1
	if fresh {
		kind |= 1
	}
	k.number(kind)
	k.text(hdr.Name)
	k.text(hdr.Linkname)
	for _, n := range []int64{hdr.Size, hdr.Mode, int64(hdr.Uid), int64(hdr.Gid), hdr.ModTime.Unix(), hdr.Devmajor, hdr.Devminor, int64(len(hdr.PAXRecords))} {
		k.number(n)
	}
	for _, name := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		k.text(name)
		k.text(hdr.PAXRecords[name])
	}
	k.buf = append(k.buf, content[:]...)
	k.h.Write(k.buf)
	k.buf = k.buf[:0]
}

func (k *keyHash) sum() (d tree.Digest) {
	k.h.Write(k.buf)
	k.h.Sum(d[:0])
	return d
}
