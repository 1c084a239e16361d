package delta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/ctxio"
)

// ChangedFile is a file of a source that is not the one that a delta was made from.
type ChangedFile struct {
	File
	// Why says what is wrong with it, as a clause that follows its name.
	Why string
}

// errEnough ends the reading of a list.
var errEnough = errors.New("enough")

// Finder opens files of several sources by their paths, and tells the number of the
// source that has it. The error wraps [fs.ErrNotExist] where none has.
type Finder interface {
	Find(path string) (file tardiff.File, source int, err error)
}

// Changed reads a list that [WriteFiles] wrote, and compares each file with that of
// the sources, of which there are so many. It returns the first files that differ, at
// most so many.
func Changed(ctx context.Context, list io.Reader, in Finder, sources, most int) ([]ChangedFile, error) {
	var bad []ChangedFile
	err := ReadFiles(list, sources, func(f File) error {
		why, err := f.compare(ctx, in)
		if err != nil {
			return err
		}
		if why != "" {
			bad = append(bad, ChangedFile{f, why})
		}
		if len(bad) == most {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return bad, nil
}

// compare says why the file is another one; "": it is not.
func (f File) compare(ctx context.Context, in Finder) (why string, _ error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	file, source, err := in.Find(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "is not there", nil
	}
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err), nil
	}
	defer file.Close() // only read
	if source != f.Source {
		return "is not there, or is in another image, too", nil
	}
	if file.Size() != f.Size {
		return fmt.Sprintf("has %d bytes, not %d", file.Size(), f.Size), nil
	}
	sum := sha256.New()
	_, err = io.Copy(sum, ctxio.Reader(ctx, io.NewSectionReader(file, 0, f.Size)))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return fmt.Sprintf("cannot be read: %v", err), nil
	case SumOf([sha256.Size]byte(sum.Sum(nil))) != f.Sum:
		return "has other content", nil
	}
	return "", nil
}
