package config

import (
	"fmt"
	"strconv"
	"strings"
)

// expandPorts expands the variables and the ranges in the arguments of EXPOSE, and
// returns "PORT/PROTO" for each port. A variable may contain several words.
func expandPorts(args []string, words func(string) ([]string, error)) ([]string, error) {
	var ports []string
	for _, arg := range args {
		specs, err := words(arg)
		if err != nil {
			return nil, err
		}
		for _, spec := range specs {
			p, err := parsePorts(spec)
			if err != nil {
				return nil, fmt.Errorf("port %q: %w", spec, err)
			}
			ports = append(ports, p...)
		}
	}
	return ports, nil
}

// parsePorts parses PORT[-PORT][/PROTO]. BuildKit accepts and ignores an address
// and a port of the host before it. Here that is an error, since an image cannot
// set these.
func parsePorts(spec string) ([]string, error) {
	if strings.Contains(spec, ":") {
		return nil, fmt.Errorf("want PORT[-PORT][/PROTO]: the host's side is chosen when the container is run")
	}
	ports, proto, _ := strings.Cut(spec, "/")
	proto = strings.ToLower(proto)
	switch proto {
	case "":
		proto = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return nil, fmt.Errorf("protocol %q is none of tcp, udp, sctp", proto)
	}
	from, to, isRange := strings.Cut(ports, "-")
	first, err := parsePort(from)
	if err != nil {
		return nil, err
	}
	last := first
	if isRange {
		if last, err = parsePort(to); err != nil {
			return nil, err
		}
	}
	if last < first {
		return nil, fmt.Errorf("range ends before it starts")
	}
	var list []string
	for p := first; p <= last; p++ {
		list = append(list, strconv.Itoa(p)+"/"+proto)
	}
	return list, nil
}

func parsePort(s string) (int, error) {
	p, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number from 0 to 65535", s)
	}
	return int(p), nil
}
