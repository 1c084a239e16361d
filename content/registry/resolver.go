package registry

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"

	"github.com/veneer-build/veneer/content"
)

// Options for talking to registries. The zero value of every field is its
// default.
type Options struct {
	// HostsDirs are searched for the directory of a registry host, which
	// holds a hosts.toml or certificates as containerd and Docker take them
	// (containerd docs/hosts.md); the first that has one counts. Nil:
	// $XDG_CONFIG_HOME/containerd/certs.d, /etc/containerd/certs.d and
	// /etc/docker/certs.d. Empty: none.
	HostsDirs []string
	// DockerConfig is the directory of the config.json that holds
	// credentials or names credential helpers; empty: $DOCKER_CONFIG, else
	// ~/.docker.
	DockerConfig string
	// PlainHTTP talks HTTP to hosts for which no hosts.toml says otherwise.
	// Where it is false, HTTPS is tried first on this host's own addresses,
	// without verifying certificates, then HTTP; on others HTTPS only.
	PlainHTTP bool
	// Platform is what to pull or push of a multi-platform image. Empty: to
	// pull the host's, to push all.
	Platform string
	// AllPlatforms pulls every platform.
	AllPlatforms bool
	// ForeignLayers lets a pull fetch layers that the registry lacks from the
	// addresses that the image names for them: any addresses, asked by this
	// process.
	ForeignLayers bool
	// Ready, if set, is called by a pull with each image that it fetched, when
	// all of it is there and before it is named. Its error is the pull's.
	Ready func(context.Context, *content.Image) error
	// Progress is told of each blob; nil: nobody is.
	Progress Progress
	// Notify is told, in one line each, of what a push gives away of an image with
	// encrypted layers, and of waits that the registry asked for;
	// nil: nobody is.
	Notify func(string)
	// Backoff is the wait before the first retry, doubled for each further
	// one; 0 is half a second. A wait that the registry asks for (Retry-After)
	// is kept to, up to two minutes.
	Backoff time.Duration
	// Stall is how long a registry may send or take nothing to speak of; 0 is
	// a minute.
	Stall time.Duration
}

func (o Options) retrier() retrier { return retrier{backoff: o.Backoff, notify: o.Notify} }

// Resolver returns containerd's resolver for image names, set up as Options
// say: hosts.toml, Docker's credentials and helpers. It does not repeat what
// fails, as [Pull] and [Push] do.
func Resolver(ctx context.Context, opts Options) (remotes.Resolver, error) {
	creds, err := loadCredentials(opts.DockerConfig)
	if err != nil {
		return nil, err
	}
	dirs := opts.HostsDirs
	if dirs == nil {
		dirs = defaultHostsDirs()
	}
	options := hosts.HostOptions{HostDir: hostDir(dirs), Credentials: creds, UpdateClient: opts.patience}
	if opts.PlainHTTP {
		options.DefaultScheme = "http"
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   guarded(dirs, hosts.ConfigureHosts(ctx, options)),
		Headers: http.Header{"User-Agent": {"veneer"}},
	}), nil
}

func (o Options) stall() time.Duration { return cmp.Or(o.Stall, defaultStall) }

// patience makes a client's transport a patient one, once. The client asks for
// tokens; [guarded] makes those that talk to registries of it.
func (o Options) patience(c *http.Client) error {
	if _, ok := c.Transport.(*patient); ok {
		return nil
	}
	c.Transport = &patient{base: c.Transport, stall: o.stall()}
	c.CheckRedirect = redirectToken
	return nil
}
