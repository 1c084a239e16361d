package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/veneer-build/veneer"
)

// readPacked reads a context, as a tar, or a Dockerfile without one. from is what
// messages call it.
func (a *app) readPacked(ctx context.Context, r io.Reader, from, file string, req *veneer.DockerfileRequest) (closeContext func(), err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return func() {}, err
	}
	if len(head) == 0 {
		return func() {}, usagef("there is nothing on %s: neither a Dockerfile nor a tar", from)
	}
	if !looksPacked(head) {
		if file != "" {
			return func() {}, usagef("%s is no tar, so that there is no %s in it; give a directory as the context", from, file)
		}
		req.Dockerfile, err = readBounded(in, from)
		return func() {}, err
	}
	packed, err := veneer.OpenContext(ctx, in)
	if err != nil {
		return func() {}, err
	}
	closeContext = func() { _ = packed.Close() } // Nothing is written to it.
	if file == "" {
		file = "Dockerfile"
	}
	if req.Dockerfile, err = packed.ReadFile(ctx, file, maxDockerfile); err != nil {
		return closeContext, fmt.Errorf("read the Dockerfile of the context on %s: %w", from, err)
	}
	req.ContextTree, req.Name = packed.Tree, file
	req.Ignore, err = packed.ReadFile(ctx, file+".dockerignore", maxDockerfile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return closeContext, err
}

// looksPacked reports whether the first bytes are those of a tar or of something
// compressed. A Dockerfile is text.
func looksPacked(head []byte) bool {
	return bytes.IndexByte(head, 0) >= 0 || bytes.HasPrefix(head, []byte("\x1f\x8b")) || bytes.HasPrefix(head, []byte("BZh")) ||
		bytes.HasPrefix(head, []byte("\xfd7zXZ")) || bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd"))
}

// parseSize reads a number of bytes, with a letter for its unit as docker has it.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(strings.ToLower(text), "ib")
	shift := 0
	if i := strings.IndexAny("kmgt", digits[max(0, len(digits)-1):]); i >= 0 && digits != "" {
		shift, digits = 10*(i+1), digits[:len(digits)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, errors.New("want a size as in 64m or 1g")
	}
	return n << shift, nil
}
