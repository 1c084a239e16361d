package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
)

// repository is an image's repository and the hosts that have it, for requests that
// containerd's client does not make: lists of referrers with further pages,
// conditions, deletions. The transports, the credentials and the settings are those
// of that client.
type repository struct {
	name  string // the normalised name that it was opened by
	spec  reference.Spec
	path  string // without the host
	hosts []docker.RegistryHost
	opts  Options
}

func openRepository(ctx context.Context, ref string, opts Options) (*repository, error) {
	name, err := content.Normalize(ref)
	if err != nil {
		return nil, err
	}
	spec, err := reference.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("parse name %q: %w", name, err)
	}
	hosts, err := opts.hosts(ctx)
	if err != nil {
		return nil, err
	}
	r := &repository{name: name, spec: spec, path: strings.TrimPrefix(spec.Locator, spec.Hostname()+"/"), opts: opts}
	r.hosts, err = hosts(spec.Hostname())
	return r, err
}

// able returns the hosts that may be asked for something.
func (r *repository) able(to docker.HostCapabilities) []docker.RegistryHost {
	var list []docker.RegistryHost
	for _, h := range r.hosts {
		if h.Capabilities.Has(to) {
			list = append(list, h)
		}
	}
	return list
}

// writable returns the host that is written to: the one that containerd's client
// pushes to.
func (r *repository) writable() (docker.RegistryHost, error) {
	hosts := r.able(docker.HostCapabilityPush)
	if len(hosts) == 0 {
		return docker.RegistryHost{}, fmt.Errorf("no host to push to: %w", errdefs.ErrNotFound)
	}
	return hosts[0], nil
}

// query is a request to a repository.
type query struct {
	method string
	what   []string // below the repository, such as "manifests" and a tag
	values url.Values
	header http.Header
	body   []byte
	// next, if set, is the address to ask instead. It must be on the host.
	next *url.URL
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body []byte
}

// ask sends a request once. An answer of any status is no error, except for those
// that a later try may not get, see [refusal]. An answer of more than [maxDocument]
// bytes is an error.
func (r *repository) ask(ctx context.Context, h docker.RegistryHost, q query) (_ answer, retErr error) {
	ctx, err := docker.ContextWithRepositoryScope(ctx, r.spec, q.method != http.MethodGet)
	if err != nil {
		return answer{}, err
	}
	if q.method == http.MethodDelete {
		ctx = docker.WithScope(ctx, "repository:"+r.path+":delete")
	}
	resp, err := authorized(ctx, h, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, q.method, r.address(h, q).String(), bytes.NewReader(q.body))
		if err != nil {
			return nil, err
		}
		if q.header != nil {
			req.Header = q.header.Clone()
		}
		req.Header.Set("User-Agent", "veneer")
		return req, nil
	})
	if err != nil {
		return answer{}, err
	}
	defer func() { retErr = errors.Join(retErr, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body) // patient limits its length
	if err != nil {
		return answer{}, fmt.Errorf("read the answer to %s %s: %w", q.method, resp.Request.URL.Redacted(), err)
	}
	return answer{Response: resp, body: body}, nil
}

func (r *repository) address(h docker.RegistryHost, q query) *url.URL {
	if q.next != nil {
		return q.next
	}
	u := &url.URL{Scheme: h.Scheme, Host: h.Host, Path: path.Join(append([]string{"/", h.Path, r.path}, q.what...)...)}
	values := url.Values{}
	for key, v := range q.values {
		values[key] = v
	}
	// A mirror learns whose content is meant, as from containerd's client.
	if name := r.spec.Hostname(); h.Host != name && (name != hubName || h.Host != hubHost) {
		values.Set("ns", name)
	}
	u.RawQuery = values.Encode()
	return u
}

// unexpected returns the error for the answer's status, with the registry's words.
func (a answer) unexpected() error {
	status, ok := unexpected(a.Response).(remoteerrors.ErrUnexpectedStatus) //nolint:errorlint // it is made here
	if !ok {
		return unexpected(a.Response)
	}
	status.Body = a.body
	var said docker.Errors
	if json.Unmarshal(a.body, &said) == nil && said.Len() > 0 {
		return fmt.Errorf("%w: %w", status, said)
	}
	return status
}

// maxChallenges is how often a registry may say how to log in: once by itself, and
// once more where a token server wants another way.
const maxChallenges = 3

// authorized sends a request, and again each time that the registry says how to log
// in. build makes the request anew for each time. The caller closes the response.
func authorized(ctx context.Context, h docker.RegistryHost, build func() (*http.Request, error)) (*http.Response, error) {
	var refused []*http.Response
	for {
		req, err := build()
		if err != nil {
			return nil, err
		}
		if h.Authorizer != nil {
			if err := h.Authorizer.Authorize(ctx, req); err != nil {
				return nil, err
			}
		}
		resp, err := h.Client.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || h.Authorizer == nil || len(refused) == maxChallenges {
			return resp, err
		}
		refused = append(refused, resp)
		if err := h.Authorizer.AddResponses(ctx, refused); errdefs.IsNotImplemented(err) {
			return resp, nil // it does not say how, or in a way that nobody knows
		} else if err != nil {
			return nil, errors.Join(err, resp.Body.Close())
		}
		// A little of what it says beyond its status keeps the connection.
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
	}
}
