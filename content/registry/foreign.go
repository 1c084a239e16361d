package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// maxURLs is the number of addresses that are tried for one layer. Images name one
// or two. One that does not answer takes half a minute.
const maxURLs = 8

// elsewhere fetches a layer that the registry lacks from the addresses that the
// image names for it (OCI image-spec descriptor.md, "urls"). It does so only with
// [Options].ForeignLayers: otherwise an image's author could choose what this
// process requests, often as root on an internal network. lacks is the registry's
// error.
func (p *pull) elsewhere(d ocispec.Descriptor, urls []string, lacks error) (remotes.Fetcher, error) {
	if !p.opts.ForeignLayers {
		return nil, fault.Mark(ErrForeignLayer, fmt.Errorf("layer %s (%s) is not in the registry, and the image names another place for it: %w", d.Digest, d.MediaType, lacks))
	}
	return remotes.FetcherFunc(func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
		var errs []error
		for _, address := range urls[:min(len(urls), maxURLs)] {
			rc, err := p.opts.get(ctx, address)
			if err == nil {
				return rc, nil
			}
			errs = append(errs, fmt.Errorf("fetch layer %s from where the image says: %w", d.Digest, err))
		}
		return nil, errors.Join(errs...)
	}), nil
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
