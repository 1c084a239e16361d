package run

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/moby/buildkit/util/resolvconf"
)

// The files of the host that name its name servers. The second is that of
// systemd-resolved. It is used where the first only has the address 127.0.0.53,
// which a network of its own cannot reach.
const (
	hostResolvConf     = "/etc/resolv.conf"
	resolvedResolvConf = "/run/systemd/resolve/resolv.conf"
)

// hostsFile is the process's /etc/hosts, as BuildKit writes it.
func hostsFile(p *Process) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", p.Hostname)
	for _, h := range p.ExtraHosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Name)
	}
	return []byte(b.String())
}

// resolvConf is the process's /etc/resolv.conf: the host's. In a network of its
// own, the host's loopback addresses are left out; if that leaves none, public ones are taken.
func resolvConf(hostNetwork bool) ([]byte, error) {
	rc, err := loadResolvConf(hostResolvConf)
	if err != nil {
		return nil, err
	}
	stub := netip.AddrFrom4([4]byte{127, 0, 0, 53})
	if ns := rc.NameServers(); !hostNetwork && len(ns) == 1 && ns[0] == stub {
		if rc, err = loadResolvConf(resolvedResolvConf); err != nil {
			return nil, err
		}
	}
	if !hostNetwork || len(rc.NameServers()) == 0 {
		rc.TransformForLegacyNw(true)
	}
	data, err := rc.Generate(false)
	if err != nil {
		return nil, fmt.Errorf("write /etc/resolv.conf: %w", err)
	}
	return data, nil
}

// loadResolvConf reads a file. A missing file counts as an empty one.
func loadResolvConf(path string) (resolvconf.ResolvConf, error) {
	rc, err := resolvconf.Load(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !os.IsNotExist(err) {
		return rc, fmt.Errorf("read name servers of the host: %w", err)
	}
	return rc, nil
}
