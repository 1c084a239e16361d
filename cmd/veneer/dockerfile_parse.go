package main

import (
	"encoding/csv"
	"net/netip"
	"os"
	"strings"

	"github.com/veneer-build/veneer"
)

// namedValues parses NAME=VALUE. If a name is given twice, the later value counts.
// A name without a value gets that of the environment, if this is allowed. If the
// environment does not have it, it is left out.
func namedValues(flag string, list []string, getenv func(string) (string, bool)) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range list {
		name, value, found := strings.Cut(text, "=")
		if name == "" || !found && getenv == nil {
			return nil, usagef("%s %s: want NAME=VALUE", flag, text)
		}
		if !found {
			if value, found = getenv(name); !found {
				continue
			}
		}
		m[name] = value
	}
	return m, nil
}

// emptyValue is the value of a label that is given without one.
func emptyValue(string) (string, bool) { return "", true }

// parseSecrets reads id=ID,src=FILE, or env=NAME, in the words of docker build.
func parseSecrets(list []string, getenv func(string) (string, bool)) (map[string]veneer.Secret, error) {
	all := map[string]veneer.Secret{}
	for _, text := range list {
		fields, err := csv.NewReader(strings.NewReader(text)).Read()
		if err != nil {
			return nil, usagef("--secret %s: %w", text, err)
		}
		var id, src, env, kind string
		for _, field := range fields {
			key, value, _ := strings.Cut(field, "=")
			to := map[string]*string{"id": &id, "src": &src, "source": &src, "env": &env, "type": &kind}[strings.ToLower(key)]
			if to == nil {
				return nil, usagef("--secret %s: there is no %q; use id=ID with src=FILE or env=NAME", text, key)
			}
			*to = value
		}
		if id == "" {
			return nil, usagef("--secret %s: it has no id; use id=ID with src=FILE or env=NAME", text)
		}
		if kind == "env" && env == "" {
			env, src = src, ""
		}
		if env == "" && src == "" {
			if _, set := getenv(id); set && kind != "file" {
				env = id
			} else {
				src = id
			}
		}
		if env != "" {
			value, _ := getenv(env)
			all[id] = veneer.Secret{Data: []byte(value)}
			continue
		}
		if st, err := os.Stat(src); err != nil {
			return nil, usagef("--secret %s: %w", text, err)
		} else if st.IsDir() {
			return nil, usagef("--secret %s: %s is a directory, and a secret is a file: give each file of it a secret of its own", text, src)
		}
		all[id] = veneer.Secret{File: src}
	}
	return all, nil
}

// parseSSH reads default, or ID=PATHS, which are an agent's socket or files of keys;
// without paths it is the agent's that the environment names.
func parseSSH(list []string, getenv func(string) (string, bool)) (map[string]veneer.Agent, error) {
	all := map[string]veneer.Agent{}
	for _, text := range list {
		id, paths, found := strings.Cut(text, "=")
		if !found {
			if paths, found = getenv("SSH_AUTH_SOCK"); !found || paths == "" {
				return nil, usagef("--ssh %s: SSH_AUTH_SOCK is not set; start an agent, or use %[1]s=PATH of an agent's socket or of a key", text)
			}
		}
		var a veneer.Agent
		names := strings.Split(paths, ",")
		for _, name := range names {
			st, err := os.Stat(name)
			switch {
			case err != nil:
				return nil, usagef("--ssh %s: %w", text, err)
			case st.Mode().Type() != os.ModeSocket:
				a.Keys = append(a.Keys, name)
			case len(names) > 1:
				return nil, usagef("--ssh %s: the socket of an agent goes with no other path", text)
			default:
				a.Socket = name
			}
		}
		all[id] = a
	}
	return all, nil
}

// parseHosts reads NAME:IP or NAME=IP, and returns NAME=IP.
func parseHosts(list []string) (all []string, err error) {
	for _, h := range list {
		name, ip, ok := strings.Cut(h, ":")
		if i := strings.Index(h, "="); i >= 0 && (!ok || i < len(name)) {
			name, ip, ok = h[:i], h[i+1:], true
		}
		if !ok || name == "" || ip == "" {
			return nil, usagef("--add-host %s: want NAME:IP", h)
		}
		ip = strings.Trim(ip, "[]")
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, usagef("--add-host %s: want an IP address; what %q stands for depends on the network of RUN", h, ip)
		}
		all = append(all, name+"="+ip)
	}
	return all, nil
}
