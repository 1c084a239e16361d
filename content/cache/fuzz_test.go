package cache_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/cache"
)

// FuzzCache: a file of the cache that is not as it was written is never read, whatever is in it, and goes.
func FuzzCache(f *testing.F) {
	sum := sha256.Sum256([]byte("entry"))
	f.Add([]byte("entry"), sum[:], uint(0), byte(0))
	f.Add([]byte("entry"), sum[:], uint(3), byte(1))
	f.Add([]byte("entry"), sum[:31], uint(0), byte(0))
	f.Add([]byte{}, []byte{}, uint(0), byte(0))
	f.Fuzz(func(t *testing.T, body, tail []byte, at uint, flip byte) {
		data := append(bytes.Clone(body), tail...)
		if len(data) > 0 {
			data[at%uint(len(data))] ^= flip
		}
		var want []byte
		if n := len(data) - sha256.Size; n >= 0 {
			if sum := sha256.Sum256(data[:n]); bytes.Equal(sum[:], data[n:]) {
				want = data[:n]
			}
		}
		c := &cache.Cache{Dir: t.TempDir()}
		d := digest.FromString("layer")
		name := filepath.Join(c.Dir, "sha256", d.Encoded())
		if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		found, err := c.Get(t.Context(), d, func(r io.Reader) (err error) {
			got, err = io.ReadAll(r)
			return err
		})
		if err != nil || found != (want != nil) || !bytes.Equal(got, want) {
			t.Errorf("%q is read as %q, %t, %v; want %q", data, got, found, err, want)
		}
		if _, err := os.Stat(name); os.IsNotExist(err) == found {
			t.Errorf("%q is read: %t; its file: %v", data, found, err)
		}
	})
}
