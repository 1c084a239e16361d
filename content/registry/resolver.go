package registry

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"

	"github.com/veneer-build/veneer/content"
)

// Options for talking to registries. Every zero value is a default.
type Options struct {
	// HostsDirs are searched for the directory of a registry host. It contains a
	// hosts.toml or certificates, as containerd and Docker use them (containerd
	// docs/hosts.md). The first one found is used. Nil:
	// $XDG_CONFIG_HOME/containerd/certs.d, /etc/containerd/certs.d and
	// /etc/docker/certs.d. Empty: none.
	HostsDirs []string
	// DockerConfig is the directory of the config.json with credentials or
	// credential helpers. Empty: $DOCKER_CONFIG, else ~/.docker.
	DockerConfig string
	// PlainHTTP uses HTTP for hosts, unless a hosts.toml says otherwise. If it is
	// false, HTTPS is used. For addresses of this host certificates are then not
	// verified, and HTTP is tried after HTTPS.
	PlainHTTP bool
	// Platform is the platform to pull or push of a multi-platform image. Empty: a
	// pull takes the host's, and a push all.
	Platform string
	// AllPlatforms pulls every platform.
	AllPlatforms bool
	// ForeignLayers: layers that the registry lacks are fetched from the addresses
	// that the image names for them. These may be any addresses that this process
	// can reach.
	ForeignLayers bool
	// Layers is called by a pull of one platform that lacks layers, when manifest and
	// config are here and before the first layer is fetched. It may put layers into the
	// store by other means, such as a delta, under the lease of ctx. What then is
	// missing is fetched, and may be read by then: see [Remote.Meanwhile]. If it returns an error, the pull fails with that. nil: no call.
	Layers func(context.Context, *Remote, *content.Image) error
	// NoDelta: who sets Layers to a way of using deltas does not do so.
	NoDelta bool
	// Ready is called by a pull with each fetched image, when it is complete and
	// before it is recorded. If it returns an error, the pull fails with that. nil:
	// no calls.
	Ready func(context.Context, *content.Image) error
	// Progress is called with the progress of each blob. nil: no calls.
	Progress Progress
	// Notify is called with texts of one line: what a push reveals of an image with
	// encrypted layers, and waits that the registry asked for. nil: no calls.
	Notify func(string)
	// Log is for details; nil discards.
	Log *slog.Logger
	// Backoff is the wait before the first retry. It doubles for each further one.
	// 0: half a second. If the registry asks for a wait (Retry-After), that is
	// used, up to two minutes.
	Backoff time.Duration
	// Stall is the time after which a transfer is ended if almost nothing was sent
	// or received. 0: a minute.
	Stall time.Duration
}

func (o Options) retrier() retrier { return retrier{backoff: o.Backoff, notify: o.Notify} }

// Resolver returns containerd's resolver for image names, configured as Options
// say: with hosts.toml, Docker's credentials and credential helpers. Unlike [Pull]
// and [Push] it does not retry.
func Resolver(ctx context.Context, opts Options) (remotes.Resolver, error) {
	hosts, err := opts.hosts(ctx)
	if err != nil {
		return nil, err
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   hosts,
		Headers: http.Header{"User-Agent": {"veneer"}},
	}), nil
}

// hosts returns a function that returns a registry's hosts: its mirrors, and last
// the registry itself.
func (o Options) hosts(ctx context.Context) (docker.RegistryHosts, error) {
	creds, err := loadCredentials(o.DockerConfig)
	if err != nil {
		return nil, err
	}
	dirs := o.HostsDirs
	if dirs == nil {
		dirs = defaultHostsDirs()
	}
	options := hosts.HostOptions{HostDir: hostDir(dirs), Credentials: creds, UpdateClient: o.patience}
	if o.PlainHTTP {
		options.DefaultScheme = "http"
	}
	return guarded(dirs, hosts.ConfigureHosts(ctx, options)), nil
}

func (o Options) backoff() time.Duration { return cmp.Or(o.Backoff, defaultBackoff) }

func (o Options) stall() time.Duration { return cmp.Or(o.Stall, defaultStall) }

// patience makes a client's transport a patient one. The client is for requesting
// tokens. [guarded] makes the clients for registries from it.
func (o Options) patience(c *http.Client) error {
	if _, ok := c.Transport.(*patient); ok {
		return nil
	}
	c.Transport = &patient{base: c.Transport, stall: o.stall()}
	c.CheckRedirect = redirectToken
	return nil
}
