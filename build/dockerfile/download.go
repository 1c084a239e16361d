package dockerfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// downloaded is a directory with one file, which has no name on the disk: it is
// gone with the process.
type downloaded struct {
	*small
	file *os.File
	size int64
	sum  digest.Digest
	// modified is when the server says that the file was changed; nil: it does not say.
	modified *time.Time
}

// fetch downloads the file of an http source.
func fetch(ctx context.Context, client *http.Client, op *pb.SourceOp, spool string) (_ *downloaded, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, op.Identifier, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	// A password in it is shown to nobody.
	from := req.URL.Redacted()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: the server answers %s", from, resp.Status)
	}
	f, err := tempfile.Unnamed(spool)
	if err != nil {
		return nil, err
	}
	d := &downloaded{small: newSmall(), file: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	h := sha256.New()
	if d.size, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(resp.Body, maxDownload+1)); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	if d.size > maxDownload {
		return nil, fmt.Errorf("fetch %s: it is larger than %d bytes", from, int64(maxDownload))
	}
	d.sum = digest.NewDigest(digest.SHA256, h)
	if want := op.Attrs[pb.AttrHTTPChecksum]; want != "" && want != d.sum.String() {
		return nil, fmt.Errorf("fetch %s: its digest is %s, and %s is asked for", from, d.sum, want)
	}
	return d, d.describe(resp, op)
}

// describe makes the file's entry, as BuildKit does.
func (d *downloaded) describe(resp *http.Response, op *pb.SourceOp) error {
	mode := uint64(0o600)
	if text := op.Attrs[pb.AttrHTTPPerm]; text != "" {
		var err error
		if mode, err = strconv.ParseUint(text, 0, 32); err != nil {
			return fmt.Errorf("fetch %s: mode %q: %w", resp.Request.URL.Redacted(), text, err)
		}
	}
	name := op.Attrs[pb.AttrHTTPFilename]
	if name == "" {
		name = baseName(resp.Request.URL.Path)
	}
	e := tree.Entry{Name: name, Meta: tree.Meta{Mode: unix.S_IFREG | uint32(mode)&0o7777, Size: d.size}}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		e.MTime, d.modified = t.Unix(), &t
	}
	d.entries = append(d.entries, e)
	return nil
}

// Root implements [tree.Tree].
func (d *downloaded) Root(context.Context) (tree.Entry, tree.Dir, error) {
	return tree.Entry{Meta: tree.Meta{Mode: unix.S_IFDIR | 0o755}}, downloadedDir{smallDir{d.small}, d}, nil
}

// Close implements [tree.Tree].
func (d *downloaded) Close() error { return d.file.Close() }

type downloadedDir struct {
	smallDir
	of *downloaded
}

// Open implements [tree.Dir].
func (d downloadedDir) Open(string) (tree.File, error) {
	return sectionFile{io.NewSectionReader(d.of.file, 0, d.of.size)}, nil
}

type sectionFile struct{ *io.SectionReader }

// Stamp implements [tree.File].
func (sectionFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// Close implements [tree.File].
func (sectionFile) Close() error { return nil }
