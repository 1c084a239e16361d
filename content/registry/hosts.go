package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// hostDir returns a function that finds a host's directory: the first one in dirs.
func hostDir(dirs []string) func(string) (string, error) {
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

// guarded wraps the transport of each host in a guard. It returns an error if
// containerd did not understand a hosts.toml.
func guarded(dirs []string, configured docker.RegistryHosts) docker.RegistryHosts {
	return func(name string) ([]docker.RegistryHost, error) {
		list, err := configured(name)
		if err != nil {
			return nil, fmt.Errorf("read settings of registry %s: %w", name, err)
		}
		if err := checkHostsFile(dirs, name, list); err != nil {
			return nil, err
		}
		for i, h := range list {
			// A copy: the authorizer and other hosts may share the client.
			c := *h.Client
			if t, ok := c.Transport.(*tokens); ok {
				c.Transport = t.base
			} else {
				h.Client.Transport = &tokens{base: c.Transport}
			}
			g := newGuard(newLenient(c.Transport, h, i == len(list)-1), h)
			c.Transport, c.CheckRedirect = g, nil // containerd's, which asks the authorizer
			list[i].Client, list[i].Header = &c, nil
			if h.Authorizer != nil {
				list[i].Authorizer = newOneByOne(ownAuthorizer{h.Authorizer, g})
			}
		}
		return list, nil
	}
}

// checkHostsFile returns an error if the host has a hosts.toml that was not used
// for list. Containerd only logs that a file is wrong, and continues with the
// registry that the file may be there to avoid.
func checkHostsFile(dirs []string, name string, list []docker.RegistryHost) error {
	dir, err := hostDir(dirs)(name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read settings of registry %s: %w", name, err)
	}
	file := filepath.Join(dir, "hosts.toml")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read settings of registry %s: %w", name, err)
	}
	var hostsFile struct {
		Server string         `toml:"server"`
		Host   map[string]any `toml:"host"`
	}
	if err := toml.Unmarshal(data, &hostsFile); err != nil {
		return fmt.Errorf("read settings of registry %s: %s: %w", name, file, err)
	}
	understood := len(list) > len(hostsFile.Host)
	if server, err := url.Parse(hostsFile.Server); understood && err == nil && server.Host != "" {
		understood = list[len(list)-1].Host == server.Host
	}
	if !understood {
		return fmt.Errorf("read settings of registry %s: %s: a value is not as containerd wants it (containerd docs/hosts.md): %w", name, file, errdefs.ErrInvalidArgument)
	}
	return nil
}
