package harness

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What a registry with [RegistryOptions.Auth] lets in.
const (
	RegistryUser     = "veneer"
	RegistryPassword = "secret"
	// RegistryHtpasswd is the registry's file that says so. The hash has a low cost: it is checked on each request.
	RegistryHtpasswd = RegistryUser + ":$2a$05$gCYi7sZkC4jJiJQc/QA26OJtRxGSrluKzTvJQjJBsc6AF2c0rLySG\n"
)

// RegistryOptions say how a registry differs from the default: plain HTTP, open to all, deletions allowed.
type RegistryOptions struct {
	Auth bool // basic authentication, as RegistryUser with RegistryPassword
	TLS  bool // HTTPS, with a certificate signed by the registry's own CA; see Registry.CAFile
	// NoDelete: nothing can be deleted.
	NoDelete bool
	// Address to listen on; empty is 127.0.0.1, which the certificate is for.
	Address string
}

// Registry is a running distribution registry.
type Registry struct {
	dir     string
	addr    string
	options RegistryOptions
	process *process
}

// NewRegistry starts an open registry on plain HTTP, stopped when the test is done.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	return NewRegistryWith(t, RegistryOptions{})
}

// NewRegistryWith starts a registry that is stopped when the test is done. Its log is shown if the test failed.
func NewRegistryWith(t testing.TB, options RegistryOptions) *Registry {
	t.Helper()
	r, err := StartRegistry(t.Context(), options)
	Check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the registry:\n%s", tail(r.path("log"), 50))
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// StartRegistry starts a registry and returns when it answers. The caller calls Stop.
func StartRegistry(ctx context.Context, options RegistryOptions) (_ *Registry, err error) {
	bin, err := registryTools.bin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", tempPrefix())
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r := &Registry{dir: dir, options: options}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start registry: %w\n%s", err, tail(r.path("log"), 20)), r.Stop())
		}
	}()
	if err := r.writeFiles(); err != nil {
		return nil, err
	}
	r.process, err = startProcess(ctx, processSpec{
		args: []string{filepath.Join(bin, "registry"), "serve", r.path("config.yml")},
		env:  []string{"OTEL_TRACES_EXPORTER=none"},
		log:  r.path("log"),
	})
	if err != nil {
		return nil, err
	}
	client, err := r.HTTPClient()
	if err != nil {
		return nil, err
	}
	return r, r.process.await(ctx, func(ctx context.Context) error { return r.ready(ctx, client) })
}

// writeFiles writes the configuration and what it points at.
func (r *Registry) writeFiles() error {
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: %q\n"+
		"  delete:\n    enabled: %t\nhttp:\n  addr: %s:0\n", r.path("storage"), !r.options.NoDelete, cmp.Or(r.options.Address, "127.0.0.1"))
	if r.options.TLS {
		if err := writeCertificates(r.CAFile(), r.path("cert.pem"), r.path("key.pem")); err != nil {
			return err
		}
		config += fmt.Sprintf("  tls:\n    certificate: %q\n    key: %q\n", r.path("cert.pem"), r.path("key.pem"))
	}
	if r.options.Auth {
		if err := os.WriteFile(r.path("htpasswd"), []byte(RegistryHtpasswd), 0o600); err != nil {
			return err
		}
		config += fmt.Sprintf("auth:\n  htpasswd:\n    realm: veneer\n    path: %q\n", r.path("htpasswd"))
	}
	return os.WriteFile(r.path("config.yml"), []byte(config), 0o600)
}

var listening = regexp.MustCompile(`listening on ([0-9.]+:[0-9]+)`)

// ready learns from the log which port the kernel gave, and asks there for the API's version.
func (r *Registry) ready(ctx context.Context, client *http.Client) error {
	if r.addr == "" {
		match := listening.FindStringSubmatch(tail(r.path("log"), 50))
		if match == nil {
			return errors.New("it does not listen yet")
		}
		r.addr = match[1]
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/v2/", http.NoBody)
	if err != nil {
		return err
	}
	if r.options.Auth {
		req.SetBasicAuth(RegistryUser, RegistryPassword)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// Addr returns host and port, as the start of image names.
func (r *Registry) Addr() string { return r.addr }

// URL returns the address with its scheme and no slash at the end.
func (r *Registry) URL() string {
	if r.options.TLS {
		return "https://" + r.addr
	}
	return "http://" + r.addr
}

// CAFile returns the path of the certificate (PEM) that signs the registry's own; there is one with TLS only.
func (r *Registry) CAFile() string { return r.path("ca.pem") }

// HTTPClient returns a client that trusts the registry.
func (r *Registry) HTTPClient() (*http.Client, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	if r.options.TLS {
		pem, err := os.ReadFile(r.CAFile())
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", r.CAFile())
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// Storage returns the directory in which the registry keeps what it has.
func (r *Registry) Storage() string { return r.path("storage") }

// Requests returns the lines of the registry's access log that hold the text, such as "PUT /v2/app/manifests/".
func (r *Registry) Requests(text string) ([]string, error) {
	data, err := os.ReadFile(r.path("log"))
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found, nil
}

// Stop ends the registry and removes its storage.
func (r *Registry) Stop() error {
	var errs []error
	if r.process != nil {
		errs = append(errs, r.process.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

func (r *Registry) path(name string) string { return filepath.Join(r.dir, name) }
