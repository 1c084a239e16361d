// Package registry pulls images from registries and pushes them there
// (OCI distribution-spec), through containerd's own client for it.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
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
	// Progress is told of each blob; nil: nobody is.
	Progress Progress
	// Backoff is the wait before the first retry, doubled for each further
	// one; 0 is half a second.
	Backoff time.Duration
}

// Resolver returns containerd's resolver for image names, set up as Options
// say: hosts.toml, Docker's credentials and helpers.
func Resolver(ctx context.Context, opts Options) (remotes.Resolver, error) {
	creds, err := loadCredentials(opts.DockerConfig)
	if err != nil {
		return nil, err
	}
	options := hosts.HostOptions{HostDir: hostDir(opts.HostsDirs), Credentials: creds}
	if opts.PlainHTTP {
		options.DefaultScheme = "http"
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   hosts.ConfigureHosts(ctx, options),
		Headers: http.Header{"User-Agent": {"veneer"}},
	}), nil
}

// hostDir looks for the host in one directory after the other.
func hostDir(dirs []string) func(string) (string, error) {
	if dirs == nil {
		dirs = defaultHostsDirs()
	}
	return func(host string) (string, error) {
		for _, dir := range dirs {
			found, err := hosts.HostDirFromRoot(dir)(host)
			if err == nil || !errdefs.IsNotFound(err) {
				return found, err
			}
		}
		return "", fmt.Errorf("settings of registry %s: %w", host, errdefs.ErrNotFound)
	}
}

func defaultHostsDirs() []string {
	dirs := []string{"/etc/containerd/certs.d", "/etc/docker/certs.d"}
	if home, err := os.UserConfigDir(); err == nil {
		dirs = append([]string{filepath.Join(home, "containerd", "certs.d")}, dirs...)
	}
	return dirs
}

// Docker Hub's credentials are filed under the address of its first API.
const (
	hubHost = "registry-1.docker.io"
	hubKey  = "https://index.docker.io/v1/"
)

func loadCredentials(dir string) (func(host string) (user, secret string, err error), error) {
	cfg, err := dockerconfig.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("read Docker's registry credentials: %w", err)
	}
	if !cfg.ContainsAuth() {
		cfg.CredentialsStore = credentials.DetectDefaultStore(cfg.CredentialsStore)
	}
	return func(host string) (string, string, error) { return lookUp(cfg, host) }, nil
}

// lookUp returns no error and no secret where there are no credentials. The
// host is the one that is talked to, so a mirror does not get the
// credentials of the registry that it mirrors.
func lookUp(cfg *configfile.ConfigFile, host string) (user, secret string, err error) {
	key := host
	if host == hubHost {
		key = hubKey
	}
	auth, err := cfg.GetAuthConfig(key)
	if err != nil {
		return "", "", fmt.Errorf("look up credentials of registry %s: %w", host, err)
	}
	switch {
	case auth.IdentityToken != "":
		return "", auth.IdentityToken, nil
	case auth.RegistryToken != "":
		return "", "", errors.New("credentials of registry " + host + ": a registrytoken is not supported; use docker login")
	}
	return auth.Username, auth.Password, nil
}
