package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/go-cni"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/thread"
)

// CNI has the paths of the network configuration of a node; see [NetworkDefault].
type CNI struct {
	// ConfDir has the configurations. The first in the order of names is used.
	// Empty: /etc/cni/net.d.
	ConfDir string
	// PluginDirs have the plugins. Empty: the directories of containerd, Debian and
	// Fedora.
	PluginDirs []string
}

func (c CNI) withDefaults() CNI {
	if c.ConfDir == "" {
		c.ConfDir = cni.DefaultNetDir
	}
	if len(c.PluginDirs) == 0 {
		c.PluginDirs = []string{cni.DefaultCNIDir, "/usr/lib/cni", "/usr/libexec/cni"}
	}
	return c
}

// configured reports whether a network is configured.
func (c CNI) configured() bool {
	for _, pattern := range []string{"*.conf", "*.conflist", "*.json"} {
		// No pattern of these is wrong, but in a directory with such a name: nothing is found there.
		if found, err := filepath.Glob(filepath.Join(c.ConfDir, pattern)); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

func (c CNI) load() (cni.CNI, error) {
	network, err := cni.New(cni.WithMinNetworkCount(2), cni.WithPluginDir(c.PluginDirs), cni.WithPluginConfDir(c.ConfDir),
		cni.WithInterfacePrefix("eth"))
	if err != nil {
		return nil, fmt.Errorf("use CNI: %w", err)
	}
	if err := network.Load(cni.WithLoNetwork, cni.WithDefaultConf); err != nil {
		return nil, fmt.Errorf("read CNI's configuration in %s: %w", c.ConfDir, err)
	}
	return network, nil
}

// connect decides which network the process gets. If that is one of CNI, it sets it
// up.
func (h *host) connect(ctx context.Context, s *sandbox, p *Process) error {
	switch {
	case p.Network == NetworkNone:
		return nil
	case p.Network == NetworkHost:
		s.hostNetwork = true
		return nil
	case userns.RunningInUserNS() || !h.cni.configured():
		s.hostNetwork = true
		h.told.Do(func() {
			why := h.cni.ConfDir + " configures no other (CNI)"
			if userns.RunningInUserNS() {
				why = "only root can have another"
			}
			h.notify("processes use the host's network, since " + why)
		})
		return nil
	}
	network, err := h.cni.load()
	if err != nil {
		return err
	}
	path := s.local(netnsName)
	if err := makeNetns(path); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	s.undo = append(s.undo, func() error { return unmount(path) })
	remove := func() error {
		ctx, cancel := undoing(ctx)
		defer cancel()
		if err := network.Remove(ctx, s.id, path); err != nil {
			return fmt.Errorf("remove network of %s: %w", s.id, err)
		}
		return nil
	}
	if _, err := network.Setup(ctx, s.id, path); err != nil {
		_ = remove() // What there is of it; the plugin that is missing cannot.
		return fmt.Errorf("set up network by CNI (%s): %w; the host's network works without it", h.cni.ConfDir, err)
	}
	s.undo = append(s.undo, remove)
	s.netns = true
	return nil
}

// disconnect removes the network of a process that was killed.
func (h *host) disconnect(ctx context.Context, id, path string) error {
	if _, err := os.Lstat(path); err != nil || !h.cni.configured() {
		return nil //nolint:nilerr // It had none.
	}
	network, err := h.cni.load()
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		path = "" // It ended with the process.
	}
	if err := network.Remove(ctx, id, path); err != nil {
		return fmt.Errorf("remove network of %s: %w", id, err)
	}
	return nil
}

// makeNetns makes a network namespace that lives as long as its mount.
func makeNetns(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	err := thread.Own(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	})
	if errors.Is(err, unix.EPERM) {
		return mountError(path, err)
	}
	return err
}
