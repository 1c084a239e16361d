package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/reopen"
)

// OpenFile opens an archive's file. For a pipe it waits for the other end. When ctx
// ends, the wait and reads of the pipe end.
func OpenFile(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := reopen.Read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return f, nil
}

// At returns what has the bytes that r reads from now on, at any position, if r is a file
// that has; else nil.
func At(r io.Reader) io.ReaderAt {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil // It is a pipe.
	}
	return io.NewSectionReader(f, at, math.MaxInt64-at)
}

// OpenLayout opens an OCI image layout in a directory as a stream that [Import]
// reads. Links must not lead out of the directory. Anything but directories, links
// and regular files is an error, and is not opened. The caller closes it.
func OpenLayout(dir string) (io.ReadCloser, error) {
	// It is opened as a directory, since opening a pipe would wait for its other
	// end.
	at, _, err := reopen.Look(dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	root, err := os.OpenRoot(reopen.Path(at))
	if err = errors.Join(err, at.Close()); err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	// Before all is read that is in a directory, look whether it is a layout.
	if lacks(root, ocispec.ImageLayoutFile) && lacks(root, ocispec.ImageIndexFile) && lacks(root, dockerFile) {
		err := fmt.Errorf("open layout %s: %w", dir, errNoLayout)
		return nil, errors.Join(fault.Mark(ErrNotImage, err), root.Close())
	}
	r, w := io.Pipe()
	go func() {
		defer root.Close()
		tw := tar.NewWriter(w)
		err := addLayout(tw, root)
		_ = w.CloseWithError(errors.Join(err, tw.Close())) // never fails
	}()
	return r, nil
}

// errNoLayout is the error for a directory without images.
var errNoLayout = fmt.Errorf("it holds no image, neither oci-layout nor manifest.json is in it: %w", errdefs.ErrInvalidArgument)

func lacks(root *os.Root, name string) bool {
	_, err := root.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// addLayout writes all that is below root.
func addLayout(tw *tar.Writer, root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			to, err := root.Readlink(name)
			if err != nil {
				return err
			}
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to})
		}
		return addFile(tw, root, name)
	})
}

// addFile writes a directory's entry or a file.
func addFile(tw *tar.Writer, root *os.Root, name string) error {
	at, info, err := lookIn(root, name)
	if err != nil {
		return err
	}
	defer at.Close() // only read
	switch {
	case info.IsDir():
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q: it is no regular file (%s): %w", name, info.Mode(), errdefs.ErrInvalidArgument)
	}
	f, err := reopen.Open(at, os.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	n, err := io.CopyN(tw, f, info.Size())
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%q: it became shorter while it was read: %d bytes of %d: %w", name, n, info.Size(), io.ErrUnexpectedEOF)
	}
	return err
}

// lookIn is [reopen.Look] below root.
func lookIn(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
