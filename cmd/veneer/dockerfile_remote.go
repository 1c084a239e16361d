package main

import (
	"context"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/veneer-build/veneer"
)

// isRemote reports whether a context is a URL, or a repository as git names it.
func isRemote(path string) bool {
	if _, err := os.Stat(path); err == nil {
		return false
	}
	return strings.Contains(path, "://") || veneer.IsRepository(path)
}

// readRemote reads a context that is a URL, or leaves one that is a repository to the
// build.
func (a *app) readRemote(ctx context.Context, from, file string, req *veneer.DockerfileRequest) (closeContext func(), err error) {
	closeContext = func() {}
	if veneer.IsRepository(from) {
		if req.Repository = from; file != "-" {
			req.Name = file
			return closeContext, nil
		}
		req.Dockerfile, err = readBounded(a.stdin(ctx), "standard input")
		return closeContext, err
	}
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return closeContext, usagef("build context %s: use a directory, -, a URL (https://…) of a tar or a Dockerfile, or a repository (https://….git, git@…)", from)
	}
	if file == "-" {
		return closeContext, usagef("%s is fetched for its Dockerfile, and --file - is another: leave out one of them", u.Redacted())
	}
	body, err := veneer.FetchContext(ctx, from)
	if err != nil {
		return closeContext, err
	}
	defer body.Close() // only read
	closeContext, err = a.readPacked(ctx, body, u.Redacted(), file, req)
	if name := path.Base(u.Path); req.Name == "" && name != "/" && name != "." {
		req.Name = name
	}
	return closeContext, err
}
