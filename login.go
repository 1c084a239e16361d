package veneer

import (
	"context"

	"github.com/veneer-build/veneer/content/registry"
)

// RegistryHost returns the registry that a user means; empty: Docker Hub.
func RegistryHost(text string) (string, error) { return registry.HostName(text) }

// Login stores credentials of a registry that takes them: see [registry.Login].
func Login(ctx context.Context, host, user, secret string, opts RegistryOptions) error {
	return registry.Login(ctx, host, user, secret, opts)
}

// Logout removes the credentials of a registry: see [registry.Logout].
func Logout(host string, opts RegistryOptions) error { return registry.Logout(host, opts) }
