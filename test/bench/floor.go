package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/pgzip"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const floorTool = "floor of the machine"

// gzipBlock is the block of Veneer's layers: the floor compresses as they are.
const gzipBlock = 256 << 10

// parallel is how many goroutines the floor's steps run: more than processors, since they wait for the kernel too.
func parallel() int { return 2 * runtime.GOMAXPROCS(0) }

// floors measures what cannot be avoided in each scenario: looking at every path of the source; reading and hashing
// the bytes that nobody has seen; compressing what is new; writing it to disk.
func (w *world) floors(ctx context.Context) error {
	t := w.trees
	if err := warm(ctx, t.v2); err != nil {
		return err
	}
	stat, err := timed(func() error { return statTree(t.v2) })
	if err != nil {
		return err
	}
	all, err := listFiles(t.v2)
	if err != nil {
		return err
	}
	changed, err := w.floorOf(ctx, t.v2, t.changed)
	if err != nil {
		return err
	}
	whole, err := w.floorOf(ctx, t.v2, all)
	if err != nil {
		return err
	}
	changed.steps["stat"], whole.steps["stat"] = stat, stat
	w.add(scenarioRebuild, floorTool, changed.sum())
	w.add(scenarioNew, floorTool, whole.sum())
	w.add(scenarioSame, floorTool, sample{seconds: stat, steps: map[string]float64{"stat": stat}})
	only := sample{steps: map[string]float64{"stat": stat, "read+hash": whole.steps["read+hash"]}}
	w.add(scenarioTimes, floorTool, only.sum())
	return nil
}

// sum makes the sample's time the sum of its steps.
func (s sample) sum() sample {
	s.seconds = 0
	for _, seconds := range s.steps {
		s.seconds += seconds
	}
	return s
}

// floorOf measures the steps for the bytes of some files.
func (w *world) floorOf(ctx context.Context, dir string, files []file) (sample, error) {
	s := sample{steps: make(map[string]float64)}
	var err error
	if s.steps["read+hash"], err = timed(func() error { return readAll(ctx, dir, files, true) }); err != nil {
		return s, err
	}
	if s.steps["compress"], err = timed(func() (err error) { s.layer, err = compress(dir, files); return err }); err != nil {
		return s, err
	}
	dest := w.path("floor")
	defer os.RemoveAll(dest)
	settle()
	s.steps["write+sync"], err = timed(func() error { return writeAll(ctx, dir, dest, files) })
	return s, err
}

func timed(do func() error) (float64, error) {
	start := time.Now()
	err := do()
	return time.Since(start).Seconds(), err
}

// statTree looks at every path below a directory, several directories at a time.
func statTree(root string) error {
	var g sync.WaitGroup
	var failed atomic.Pointer[error]
	tokens := make(chan struct{}, parallel())
	var visit func(dir string)
	visit = func(dir string) {
		subs, err := statDir(dir)
		if err != nil {
			failed.Store(&err)
			return
		}
		for _, sub := range subs {
			select {
			case tokens <- struct{}{}:
				g.Go(func() {
					visit(filepath.Join(dir, sub))
					<-tokens
				})
			default:
				visit(filepath.Join(dir, sub))
			}
		}
	}
	visit(root)
	g.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("stat %s: %w", root, *err)
	}
	return nil
}

func statDir(dir string) (subs []string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	for _, name := range names {
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			subs = append(subs, name)
		}
	}
	return subs, nil
}

// each calls do for every file, several at a time, with a buffer of its own.
func each(ctx context.Context, files []file, do func(f file, buf []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range parallel() {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(files) {
					return nil
				}
				if err := do(files[i], buf); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// readAll reads files, and hashes them if asked to.
func readAll(ctx context.Context, dir string, files []file, hash bool) error {
	return each(ctx, files, func(f file, buf []byte) error {
		in, err := os.Open(filepath.Join(dir, f.path))
		if err != nil {
			return err
		}
		defer in.Close()
		h := sha256.New()
		for {
			n, err := in.Read(buf)
			if hash {
				h.Write(buf[:n])
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
}

// compress compresses files as one stream, as Veneer's default does, and returns its length.
func compress(dir string, files []file) (int64, error) {
	out := new(counter)
	z, err := pgzip.NewWriterLevel(out, pgzip.DefaultCompression)
	if err != nil {
		return 0, err
	}
	if err := z.SetConcurrency(gzipBlock, runtime.GOMAXPROCS(0)+1); err != nil {
		return 0, err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.path))
		if err != nil {
			return 0, err
		}
		if _, err := z.Write(data); err != nil {
			return 0, err
		}
	}
	err = z.Close()
	return int64(*out), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// writeAll copies files into one directory, and syncs its file system once: cheaper than a sync of each.
func writeAll(ctx context.Context, dir, dest string, files []file) (err error) {
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	var serial atomic.Int64
	err = each(ctx, files, func(f file, buf []byte) error {
		in, err := os.Open(filepath.Join(dir, f.path))
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(dest, fmt.Sprint(serial.Add(1))))
		if err != nil {
			return err
		}
		// Hidden from io: a copy within the kernel would not be what an unpacker can do.
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf)
		return errors.Join(err, out.Close())
	})
	if err != nil {
		return err
	}
	d, err := os.Open(dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return unix.Syncfs(int(d.Fd()))
}
