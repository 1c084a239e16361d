package registry

import (
	"fmt"

	"github.com/docker/cli/cli/config/configfile"

	"github.com/veneer-build/veneer/internal/fault"
)

// Docker's config has Docker Hub's credentials under the address of its first API.
const (
	hubHost = "registry-1.docker.io"
	hubKey  = "https://index.docker.io/v1/"
)

func loadCredentials(dir string) (func(host string) (user, secret string, err error), error) {
	cfg, err := loadConfig(dir)
	if err != nil {
		return nil, err
	}
	return func(host string) (string, string, error) { return lookUp(cfg, host) }, nil
}

// lookUp returns the credentials for a host. If there are none, all results are
// empty. host is the host that is contacted: a mirror does not get the credentials
// of its registry.
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
		return "", "", &fault.Error{Kind: ErrCredentials, Ref: host, Err: fmt.Errorf("credentials of registry %s: a registrytoken is not supported", host)}
	}
	return auth.Username, auth.Password, nil
}
