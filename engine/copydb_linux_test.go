package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestCopyDatabaseBesideWriter copies a database again and again while transactions of all sizes change it, and grow it:
// each copy must be whole, and what one of them left, in all of its buckets.
func TestCopyDatabaseBesideWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	change := func(turn uint64) error {
		return db.Update(func(tx *bolt.Tx) error {
			for _, name := range []string{"first", "second", "third"} {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				for range rand.IntN(100) {
					key := fmt.Appendf(nil, "key %d", rand.IntN(2000))
					if rand.IntN(3) == 0 {
						err = b.Delete(key)
					} else {
						err = b.Put(key, bytes.Repeat([]byte{byte(turn)}, rand.IntN(1000)))
					}
					if err != nil {
						return err
					}
				}
				if err := b.Put([]byte("turn"), binary.BigEndian.AppendUint64(nil, turn)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := change(0); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for turn := uint64(1); ; turn++ {
			select {
			case <-stop:
				stopped <- db.Close()
				return
			case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond): // as a sync takes
			}
			if err := change(turn); err != nil {
				stopped <- err
				return
			}
		}
	}()
	// At least 20 copies, and as many more as a loaded machine takes until the writer had its turn between some of them.
	// That takes seconds at worst: the bounds are for a writer that does nothing.
	const copies, states, most, patience = 20, 5, 10_000, 2 * time.Minute
	turns, begun := map[uint64]bool{}, time.Now()
	made := 0
	for ; made < copies || len(turns) < states && made < most && time.Since(begun) < patience; made++ {
		turns[wholeCopy(t, path)] = true
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if len(turns) < states {
		t.Errorf("only %d states in %d copies: the writer did nothing", len(turns), made)
	}
}

// wholeCopy checks a copy and returns which transaction made it.
func wholeCopy(t *testing.T, path string) (turn uint64) {
	t.Helper()
	file, err := copyDatabase(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, inMemory(file))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("copy: %v", err)
		}
		turn = binary.BigEndian.Uint64(tx.Bucket([]byte("first")).Get([]byte("turn")))
		for _, name := range []string{"second", "third"} {
			if got := binary.BigEndian.Uint64(tx.Bucket([]byte(name)).Get([]byte("turn"))); got != turn {
				t.Errorf("copy has the first bucket of turn %d and the %s of %d", turn, name, got)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return turn
}
