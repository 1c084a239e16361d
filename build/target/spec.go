package target

import (
	"errors"
	"fmt"

	"github.com/veneer-build/veneer/differ"
)

// The sources of targets.
const (
	// Dir is any path on this host, also a single file.
	Dir = "dir"
	// Tar is an archive, compressed or not.
	Tar = "tar"
	// Image is a path in an image of the engine, for the base's platform.
	Image = "image"
	// Container is a path in a container's root file system, as it is now.
	Container = "container"
)

// Stdin is the [Spec].Source that stands for standard input.
const Stdin = "-"

// Spec is one --copy, --sync or --delete. Nothing of it is open yet.
type Spec struct {
	Op differ.Op
	// Type says what the source is; empty: [Dir].
	Type string
	// Source is a path on this host, or "-" for standard input (Type [Tar]), or
	// a path in the root file system that Ref names. {{.OS}}, {{.Arch}} and
	// {{.Variant}} in it stand for the platform that is built.
	Source string
	// Ref is the image or the container that files are taken from (Types [Image]
	// and [Container]). A container is named as nerdctl or Kubernetes does, or by
	// its ID or the start of that.
	Ref string
	// NoPause reads a container while it runs. Otherwise it is paused meanwhile.
	NoPause bool
	// Dest is the path in the image, as typed. A trailing slash means that it is a
	// directory.
	Dest string
	// Chown is USER[:GROUP], names or numbers; names are looked up in the
	// base's own /etc/passwd and /etc/group.
	Chown string
	// Chmod is octal or symbolic, as chmod(1) takes it.
	Chmod string
	// Owner says whose owners the files get. Empty: the base's for local files and
	// directories, the source's for archives, images and containers.
	Owner differ.OwnerPolicy
	// Exclude are .dockerignore patterns; IgnoreFile is a file of them,
	// relative to the source directory if it is not absolute.
	Exclude    []string
	IgnoreFile string
	// Only are paths in the source. What is neither at nor below one of them is
	// excluded. Empty: nothing is.
	Only []string
	// DirLinks says what to do if the source has a directory where the base has a
	// symbolic link to one. Empty: follow for copy, error for sync.
	DirLinks differ.DirLinks
}

// Check returns an error if the specification is wrong. It opens nothing.
func (s Spec) Check() error {
	err := s.check()
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

func (s Spec) check() error {
	switch s.Type {
	case "", Dir, Tar:
	case Image, Container:
		if s.Ref == "" {
			return fmt.Errorf("a source of type %s names none", s.Type)
		}
	default:
		return fmt.Errorf("type %q: want %s, %s, %s or %s", s.Type, Dir, Tar, Image, Container)
	}
	if s.Chmod != "" {
		if err := CheckChmod(s.Chmod); err != nil {
			return err
		}
	}
	return errors.Join(s.Owner.Check(), s.DirLinks.Check(), CheckSource(s.Source))
}

// String names the target in messages.
func (s Spec) String() string {
	if s.Op == differ.Delete {
		return fmt.Sprintf("delete %s", s.Dest)
	}
	from := s.Source
	if s.Type == Container && s.Source == "/" && s.Dest == "/" {
		return "container " + s.Ref
	}
	if s.Ref != "" {
		from = s.Ref + " " + s.Source
	}
	return fmt.Sprintf("%s %s:%s", s.Op, from, s.Dest)
}
