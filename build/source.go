package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/engine/container"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// Source is a file tree that a comparison reads.
type Source interface {
	// open opens the tree, which the caller closes.
	open(ctx context.Context, s *Session, how reading) (tree.Tree, error)
	// image is the image whose files these are; nil: they are not an image's.
	image() *content.Image
}

// reading says how sources are read. A comparison is repeated with another one if it
// meets something that only a mount can read.
type reading struct {
	reader rootfs.Reader
	// mounted: containers are read through their own mounts, not their directories.
	mounted bool
}

// Files are an image's files, for a comparison that looks at few of them: those at
// and below the destinations of targets. role says in messages what the image is
// for, as in "base".
func Files(img *content.Image, role string) Source { return imageFiles{img: img, role: role} }

// AllFiles are an image's files, for a comparison that looks at all of them. If the
// layers are stored, they are read through their index. That is fastest, since the
// index has the digests of all contents. The root directory's metadata is that of
// the layers.
func AllFiles(img *content.Image, role string) Source {
	return imageFiles{img: img, role: role, rootMeta: true, preferIndex: true}
}

// FilesAsUnpacked are [AllFiles] as a snapshot has them: its root directory is a fresh
// one, whatever metadata the layers give it.
func FilesAsUnpacked(img *content.Image) Source {
	return imageFiles{img: img, role: "image", preferIndex: true}
}

// FilesInPlace is [AllFiles] for a comparison with a container. The image is read in
// place: then files that the container shares with it need not be read.
func FilesInPlace(img *content.Image) Source {
	return imageFiles{img: img, role: "image", rootMeta: true}
}

type imageFiles struct {
	img         *content.Image
	role        string
	rootMeta    bool
	preferIndex bool
}

func (f imageFiles) image() *content.Image { return f.img }

func (f imageFiles) open(ctx context.Context, s *Session, how reading) (tree.Tree, error) {
	if f.preferIndex && how.reader == rootfs.Auto && len(f.img.Missing) == 0 {
		how.reader = rootfs.Index
	}
	if err := s.refuseEncrypted(f.img); err != nil {
		return nil, err
	}
	files := s.Roots.Of(f.img, f.role)
	files.RootMeta = f.rootMeta
	return files.Open(ctx, how.reader)
}

// Container are the files of a container. Unless noPause is set, the container is
// paused until they are closed.
func Container(c containers.Container, noPause bool) Source {
	return containerFiles{container: c, noPause: noPause}
}

type containerFiles struct {
	container containers.Container
	noPause   bool
}

func (containerFiles) image() *content.Image { return nil }

func (f containerFiles) open(ctx context.Context, s *Session, how reading) (tree.Tree, error) {
	active, err := container.Rootfs(ctx, s.Engine, &f.container)
	if err != nil {
		return nil, err
	}
	resume := func() error { return nil }
	if !f.noPause {
		if resume, err = container.Pause(ctx, s.Engine.Client, f.container.ID); err != nil {
			return nil, err
		}
	}
	files, err := openDirs(active.Dirs, how.mounted)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read container %s: %w", f.container.ID, err), resume())
	}
	return joinedTree{files, closer(resume)}, nil
}

// openDirs opens the directories of a container's root file system, or the mount that
// the container itself uses.
func openDirs(dirs []string, mounted bool) (tree.Tree, error) {
	if !mounted {
		return disk.OpenStack(dirs)
	}
	at, err := container.MountOf(dirs[0])
	if err != nil {
		return nil, err
	}
	return disk.OpenLocal(at)
}

// Dir are the files of a directory on this host.
func Dir(path string) Source { return dirFiles(path) }

type dirFiles string

func (dirFiles) image() *content.Image { return nil }

func (d dirFiles) open(context.Context, *Session, reading) (tree.Tree, error) {
	dir := string(d)
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the directory %s does not exist", dir)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory; an image archive is archive:%s", dir, dir)
	}
	l, err := disk.OpenLocal(dir)
	if err != nil {
		return nil, err
	}
	return rootfs.Unpacked{Tree: l}, nil
}

// joinedTree is a tree that also closes something else.
type joinedTree struct {
	tree.Tree
	also io.Closer
}

func (j joinedTree) Close() error { return errors.Join(j.Tree.Close(), j.also.Close()) }

// closer is a function that closes something.
type closer func() error

func (c closer) Close() error { return c() }
