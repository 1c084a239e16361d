package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Network is a bridge on this machine and some network namespaces behind it, each with an address and a cable of its
// own, whose bytes the kernel counts. It reaches no other network.
type Network struct {
	// Address is this machine's on the bridge.
	Address string
	// Hosts are the namespaces.
	Hosts []*Host

	bridge string
}

// Host is one network namespace.
type Host struct {
	Address   string
	namespace string // its name, as ip-netns(8) takes it
	cable     string // our end of it
}

// StartNetwork makes a network of n hosts, at most 200. The caller calls Stop.
func StartNetwork(ctx context.Context, n int) (_ *Network, err error) {
	if err := requireRoot(); err != nil {
		return nil, err
	}
	if _, err := installed("ip", "iproute2"); err != nil {
		return nil, err
	}
	// A name of an interface has 15 characters; 198.18.0.0/15 is for measurements (RFC 2544).
	pid := os.Getpid()
	subnet := fmt.Sprintf("198.18.%d.", pid%256)
	net := &Network{Address: subnet + "1", bridge: fmt.Sprintf("vnr%db", pid)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start network: %w", err), net.Stop())
		}
	}()
	err = ip(ctx,
		"link add "+net.bridge+" type bridge",
		"addr add "+net.Address+"/24 dev "+net.bridge,
		"link set "+net.bridge+" up")
	for i := 0; i < n && err == nil; i++ {
		h := &Host{Address: subnet + strconv.Itoa(i+2), namespace: fmt.Sprintf("vnr%dn%d", pid, i)}
		h.cable = h.namespace
		net.Hosts = append(net.Hosts, h)
		err = errors.Join(
			ip(ctx, "netns add "+h.namespace),
			ip(ctx,
				"link add "+h.cable+" type veth peer name eth0 netns "+h.namespace,
				"link set "+h.cable+" master "+net.bridge+" up"),
			ip(ctx, "-n "+h.namespace+" addr add "+h.Address+"/24 dev eth0"),
			ip(ctx, "-n "+h.namespace+" link set eth0 up"),
			ip(ctx, "-n "+h.namespace+" link set lo up"))
	}
	return net, err
}

// ip runs commands of ip(8), one a line.
func ip(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// Stop removes the network. What still runs in its namespaces keeps them alive, without their cables.
func (n *Network) Stop() error {
	ctx := context.Background()
	var errs []error
	for _, h := range n.Hosts {
		if _, err := os.Stat(filepath.Join("/sys/class/net", h.cable)); err == nil {
			errs = append(errs, ip(ctx, "link del "+h.cable))
		}
		if _, err := os.Stat(h.path()); err == nil {
			errs = append(errs, ip(ctx, "netns del "+h.namespace))
		}
	}
	n.Hosts = nil
	if _, err := os.Stat(filepath.Join("/sys/class/net", n.bridge)); err == nil {
		errs = append(errs, ip(ctx, "link del "+n.bridge))
	}
	return errors.Join(errs...)
}

func (h *Host) path() string { return filepath.Join("/run/netns", h.namespace) }

// Command returns a command that runs on the host: in its network, and with this machine's files.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	args = h.inside(args)
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// inside is the command line that enters the namespace first. Not that of ip-netns(8), which makes a mount namespace
// too, in which a daemon's mounts would be its own.
func (h *Host) inside(args []string) []string {
	return append([]string{"nsenter", "--net=" + h.path(), "--"}, args...)
}

// Traffic is what has gone over a host's cable since it was made, in bytes with all headers.
type Traffic struct{ In, Out int64 }

// Traffic reads the kernel's counters.
func (h *Host) Traffic() (Traffic, error) {
	in, err := h.counter("tx_bytes") // ours is the other end
	if err != nil {
		return Traffic{}, err
	}
	out, err := h.counter("rx_bytes")
	return Traffic{In: in, Out: out}, err
}

func (h *Host) counter(name string) (int64, error) {
	data, err := os.ReadFile(filepath.Join("/sys/class/net", h.cable, "statistics", name))
	if err != nil {
		return 0, fmt.Errorf("count traffic of %s: %w", h.Address, err)
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}
