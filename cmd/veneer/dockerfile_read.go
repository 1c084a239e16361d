package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/internal/reopen"
)

// readDockerfile reads the Dockerfile, and the ignore file that goes with it.
func readDockerfile(ctx context.Context, file string, req *veneer.DockerfileRequest) error {
	var err error
	if req.Dockerfile, err = readBeside(ctx, req.Context, file); errors.Is(err, reopen.ErrEscapes) {
		return fmt.Errorf("read the Dockerfile: %w, and so is not read; if it is to be, use --file - <%s", err, file)
	} else if err != nil {
		return fmt.Errorf("read the Dockerfile: %w", err)
	}
	req.Name = filepath.Base(file)
	if req.Ignore, err = readBeside(ctx, req.Context, file+".dockerignore"); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read the ignore file: %w", err)
	}
	return nil
}

// readBeside reads a file that is in the build context, or elsewhere. The context
// can be a stranger's: in it the file must be a regular one, and no symbolic link may
// lead out of it, since errors show what is read.
func readBeside(ctx context.Context, dir, name string) ([]byte, error) {
	f, err := openBeside(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	return readBounded(f, name)
}

func openBeside(ctx context.Context, dir, name string) (io.ReadCloser, error) {
	whole, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	at, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(whole, at); err == nil && filepath.IsLocal(rel) {
		return reopen.Beneath(dir, rel)
	}
	return reopen.Read(ctx, name)
}
