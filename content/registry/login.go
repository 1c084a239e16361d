package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"

	"github.com/veneer-build/veneer/internal/fault"
)

// hubName is what Docker Hub's images and settings are called by.
const hubName = "docker.io"

// ErrNotLoggedIn means that there are no credentials of the registry to remove.
var ErrNotLoggedIn = errors.New("there are no credentials of it here")

// HostName returns the registry that a user means: a host with a port, as names of
// images begin with. Empty, and Docker Hub's other names, are "docker.io".
func HostName(text string) (string, error) {
	host := credentials.ConvertToHostname(text)
	switch host {
	case "", "index.docker.io", hubHost:
		host = hubName
	}
	if strings.ContainsAny(host, " \t\r\n@?#") {
		return "", fmt.Errorf("registry %q: want HOST[:PORT]", text)
	}
	return host, nil
}

// Login asks the registry whether it takes the credentials, and stores them if so:
// where Docker's config says, in a credential helper or in the config itself. A
// registry that asks nobody for credentials takes any.
func Login(ctx context.Context, host, user, secret string, opts Options) error {
	err := opts.retrier().do(ctx, func(ctx context.Context) error { return tryCredentials(ctx, host, user, secret, opts) })
	if err != nil {
		err = redact(err)
		switch {
		case denied(err):
			return fmt.Errorf("log in to %s: the registry does not take this user name and password: %w", host, err)
		case speaksHTTP(err):
			return &fault.Error{Kind: ErrPlainHTTP, Ref: host, Err: fmt.Errorf("log in to %s: %w: %w", host, ErrPlainHTTP, err)}
		}
		return fmt.Errorf("log in to %s: %w", host, err)
	}
	cfg, err := loadConfig(opts.DockerConfig)
	if err != nil {
		return err
	}
	auth := types.AuthConfig{ServerAddress: configKey(host), Username: user, Password: secret}
	if err := cfg.GetCredentialsStore(auth.ServerAddress).Store(auth); err != nil {
		return fmt.Errorf("store credentials of registry %s: %w", host, err)
	}
	return nil
}

// Logout removes the credentials of a registry. Where there are none, the error wraps
// [ErrNotLoggedIn].
func Logout(host string, opts Options) error {
	cfg, err := loadConfig(opts.DockerConfig)
	if err != nil {
		return err
	}
	key := configKey(host)
	store := cfg.GetCredentialsStore(key)
	auth, err := store.Get(key)
	if err != nil {
		return fmt.Errorf("look up credentials of registry %s: %w", host, err)
	}
	if auth == (types.AuthConfig{}) {
		return fmt.Errorf("log out of %s: %w", host, ErrNotLoggedIn)
	}
	if err := store.Erase(key); err != nil {
		return fmt.Errorf("remove credentials of registry %s: %w", host, err)
	}
	return nil
}

func loadConfig(dir string) (*configfile.ConfigFile, error) {
	cfg, err := dockerconfig.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("read Docker's registry credentials: %w", err)
	}
	if !cfg.ContainsAuth() {
		cfg.CredentialsStore = credentials.DetectDefaultStore(cfg.CredentialsStore)
	}
	return cfg, nil
}

// configKey is what Docker's config has a host's credentials under.
func configKey(host string) string {
	if host == hubName {
		return hubKey
	}
	return host
}

// tryCredentials makes the request that registries answer to whom they know
// (distribution-spec, "Determining Support").
func tryCredentials(ctx context.Context, name, user, secret string, opts Options) error {
	dirs := opts.HostsDirs
	if dirs == nil {
		dirs = defaultHostsDirs()
	}
	options := hosts.HostOptions{
		HostDir: hostDir(dirs), UpdateClient: opts.patience,
		Credentials: func(string) (string, string, error) { return user, secret, nil },
	}
	if opts.PlainHTTP {
		options.DefaultScheme = "http"
	}
	list, err := guarded(dirs, hosts.ConfigureHosts(ctx, options))(name)
	if err != nil {
		return err
	}
	// The last one is the registry itself, and those before are its mirrors.
	h := list[len(list)-1]
	resp, err := authorized(ctx, h, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Scheme+"://"+h.Host+strings.TrimSuffix(h.Path, "/")+"/", http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header.Set("User-Agent", "veneer")
		return req, nil
	})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.Join(remoteerrors.NewUnexpectedStatusErr(resp), resp.Body.Close())
	}
	return resp.Body.Close()
}
