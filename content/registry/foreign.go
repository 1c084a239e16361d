package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// maxURLs is the number of addresses that are tried for one layer. Images name one
// or two. One that does not answer takes half a minute.
const maxURLs = 8

// elsewhere fetches a layer that the registry lacks from the first of the addresses
// that the image names for it which gives it (OCI image-spec descriptor.md, "urls").
// It does so only with [Options].ForeignLayers: otherwise an image's author could
// choose what this process requests, often as root on an internal network. lacks is
// the registry's error.
func (p *pull) elsewhere(ctx context.Context, to fetcher, d ocispec.Descriptor, urls []string, lacks error) error {
	if !p.opts.ForeignLayers {
		return fault.Mark(ErrForeignLayer, fmt.Errorf("layer %s (%s) is not in the registry, and the image names another place for it: %w", d.Digest, d.MediaType, lacks))
	}
	var all error
	for _, address := range urls[:min(len(urls), maxURLs)] {
		to.Fetcher = remotes.FetcherFunc(func(ctx context.Context, _ ocispec.Descriptor) (io.ReadCloser, error) {
			return p.opts.get(ctx, address)
		})
		// Once: waiting for a server that hangs takes long enough.
		err := p.fetchOnce(ctx, to, d)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !strings.Contains(err.Error(), address) {
			err = fmt.Errorf("%s: %w", address, err)
		}
		if all != nil {
			err = fmt.Errorf("%w; %w", all, err) // on one line
		}
		all = err
	}
	return fault.Mark(ErrElsewhere, ofBlob(d, all))
}

// get requests an address of any host, without credentials. It waits as long as for
// a registry.
func (o Options) get(ctx context.Context, address string) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("address %q is none of http or https: %w", address, errdefs.ErrInvalidArgument)
	}
	u.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "veneer")
	client := &http.Client{Transport: o.Patient()}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: status %s: %w", u.Redacted(), resp.Status, errdefs.ErrUnavailable), resp.Body.Close())
	}
	return resp.Body, nil
}

// Patient is a transport for files of any host: it gives no credentials, and ends what
// does not get on.
func (o Options) Patient() http.RoundTripper {
	transport := docker.DefaultHTTPTransport(nil)
	transport.DisableKeepAlives = true
	transport.ResponseHeaderTimeout = min(transport.ResponseHeaderTimeout, o.stall())
	return &patient{base: transport, stall: o.stall(), blobs: true}
}
