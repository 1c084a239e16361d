package cache

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
	"github.com/veneer-build/veneer/internal/tempfile"
	"github.com/veneer-build/veneer/internal/trusted"
)

// defaultBytes is enough for the indexes of some hundreds of large layers, and
// the digests of some millions of files.
const defaultBytes = 1 << 30

// Cache is a directory of entries. The entry of sha256:HEX is the file
// Dir/sha256/HEX.
type Cache struct {
	// Dir is made on the first Put, for its owner alone.
	Dir string
	// MaxBytes bounds the size of all entries; 0 is 1 GiB. Beyond it those
	// not used for longest are removed.
	MaxBytes int64
}

// Get calls read with the entry of dgst, and reports whether there was one that
// read accepted. An entry that is damaged, or for which read returns an error,
// is removed and reported as absent. Get returns an error where ctx has ended or
// the cache cannot be used at all: its files cannot be read, or another user may
// write to it. The reader is a [bytes.Buffer]: read may keep its bytes.
func (c *Cache) Get(ctx context.Context, dgst digest.Digest, read func(io.Reader) error) (bool, error) {
	if err := cmp.Or(ctx.Err(), c.check()); err != nil {
		return false, err
	}
	name, err := c.path(dgst)
	if err != nil {
		return false, err
	}
	body, ok, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read cache entry %s: %w", dgst, err)
	}
	if !ok || read(bytes.NewBuffer(body)) != nil {
		if err := remove(name); err != nil {
			return false, fmt.Errorf("remove damaged cache entry %s: %w", dgst, err)
		}
		return false, nil
	}
	// The time of use is for eviction only: on a read-only cache it stays.
	now := time.Now()
	_ = os.Chtimes(name, now, now)
	return true, nil
}

// Put stores what write writes as the entry of dgst, in place of an earlier
// one. It is visible whole or not at all, also after a power cut.
func (c *Cache) Put(ctx context.Context, dgst digest.Digest, write func(io.Writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := c.path(dgst)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), c.check()); err != nil {
		return fmt.Errorf("make index cache: %w", err)
	}
	size, err := writeEntry(name, write)
	if err != nil {
		return fmt.Errorf("write cache entry %s: %w", dgst, err)
	}
	limit := c.limit()
	if size > limit {
		return remove(name)
	}
	_, err = c.shrink(limit)
	return err
}

// Pruned says what was removed.
type Pruned struct {
	Files int
	Bytes int64
}

// Prune removes all entries, and what killed processes left half written.
func (c *Cache) Prune() (Pruned, error) { return c.shrink(0) }

// Sweep removes what killed processes left half written.
func (c *Cache) Sweep() (Pruned, error) { return c.shrink(c.limit()) }

// check returns an error if other users may have put entries into the cache:
// what an entry says is believed.
func (c *Cache) check() error {
	if err := trusted.Check(c.Dir); err != nil {
		return fmt.Errorf("use index cache: %w", err)
	}
	return nil
}

// Left returns what Sweep would remove, or what Prune would if all is set. It
// removes nothing.
func (c *Cache) Left(all bool) (Pruned, error) {
	limit := c.limit()
	if all {
		limit = 0
	}
	return c.shrinkBy(limit, func(string) error { return nil })
}

func (c *Cache) limit() int64 { return cmp.Or(c.MaxBytes, defaultBytes) }

func (c *Cache) path(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("cache entry %q: %w", dgst, err)
	}
	return filepath.Join(c.Dir, dgst.Algorithm().String(), dgst.Encoded()), nil
}

// tempAge is how old an unfinished entry must be before another process takes
// its writer for dead, even if the entry is locked.
const tempAge = time.Hour

const tempPrefix = ".tmp-"

// bufferSize is how much is written to an entry at once. Most entries are smaller.
const bufferSize = 64 << 10

// cacheFile is one file of the cache.
type cacheFile struct {
	path string
	size int64
	used time.Time
	temp bool // half written
}

// abandoned reports whether the writer of an unfinished entry is dead. A living
// one holds the file's lock.
func (f cacheFile) abandoned() bool {
	if time.Since(f.used) > tempAge {
		return true
	}
	file, err := os.Open(f.path)
	if err != nil {
		return false
	}
	defer file.Close() // only read
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// shrink removes the entries not used for longest until the others have limit
// bytes at most, and what killed writers left.
func (c *Cache) shrink(limit int64) (Pruned, error) { return c.shrinkBy(limit, remove) }

func (c *Cache) shrinkBy(limit int64, remove func(path string) error) (Pruned, error) {
	if err := c.check(); err != nil {
		return Pruned{}, err
	}
	files, err := c.files()
	if err != nil {
		return Pruned{}, fmt.Errorf("list index cache: %w", err)
	}
	var total int64
	for _, f := range files {
		if !f.temp {
			total += f.size
		}
	}
	slices.SortFunc(files, func(a, b cacheFile) int { return a.used.Compare(b.used) })
	var pruned Pruned
	for _, f := range files {
		if f.temp && !f.abandoned() || !f.temp && total <= limit {
			continue
		}
		if err := remove(f.path); err != nil {
			return pruned, fmt.Errorf("shrink index cache: %w", err)
		}
		if !f.temp {
			total -= f.size
		}
		pruned.Files++
		pruned.Bytes += f.size
	}
	return pruned, nil
}

// files lists the cache; what another process removes meanwhile is left out.
func (c *Cache) files() ([]cacheFile, error) {
	var files []cacheFile
	err := filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files = append(files, cacheFile{path, info.Size(), info.ModTime(), strings.HasPrefix(d.Name(), tempPrefix)})
		return nil
	})
	return files, err
}

// writeEntry writes body and its SHA-256 to a temporary file and renames it.
func writeEntry(name string, write func(io.Writer) error) (_ int64, retErr error) {
	dir := filepath.Dir(name)
	temp := filepath.Join(dir, tempPrefix+rand.Text())
	f, link, err := createTemp(temp)
	if err != nil {
		return 0, err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, remove(temp))
		}
	}()
	// Closing the file gives up its lock. So it is closed last, when the file
	// has its final name: see abandoned.
	defer func() { retErr = errors.Join(retErr, f.Close()) }()
	size, err := writeBody(f, write)
	if err != nil {
		return 0, err
	}
	if err := link(); err != nil {
		return 0, err
	}
	if err := os.Rename(temp, name); err != nil {
		return 0, err
	}
	return size, durable.SyncDir(dir)
}

// createTemp makes a locked file that link gives the name temp, if it has none
// yet.
func createTemp(temp string) (f *os.File, link func() error, err error) {
	f, named, err := tempfile.Create(filepath.Dir(temp), filepath.Base(temp), temp, 0o600)
	if err != nil {
		return nil, nil, err
	}
	link = func() error { return tempfile.Link(f, temp) }
	if named {
		link = func() error { return nil }
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOLCK) {
		return nil, nil, errors.Join(os.NewSyscallError("flock", err), f.Close(), remove(temp))
	}
	return f, link, nil
}

func writeBody(f *os.File, write func(io.Writer) error) (int64, error) {
	hash := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(f, hash), bufferSize)
	if err := errors.Join(write(buf), buf.Flush()); err != nil {
		return 0, err
	}
	if _, err := f.Write(hash.Sum(nil)); err != nil {
		return 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return size, f.Sync()
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
