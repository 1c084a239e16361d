package harness_test

import (
	"archive/tar"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/veneer-build/veneer/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// TestRegistry: an image pushed by a client that is not ours comes back the same, with each kind of access.
func TestRegistry(t *testing.T) {
	crane, err := harness.Crane()
	harness.Check(t, err)
	archive := filepath.Join(t.TempDir(), "image.tar")
	if err := harness.WriteImage(archive, harness.Image{Layers: []string{smallLayer(t)}}); err != nil {
		t.Fatal(err)
	}
	layout := harness.Extract(t, archive)
	for name, options := range map[string]harness.RegistryOptions{"open": {}, "auth": {Auth: true}, "tls": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := harness.NewRegistryWith(t, options)
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			t.Setenv("SSL_CERT_FILE", r.CAFile())
			run := func(args ...string) (string, error) {
				out, err := exec.CommandContext(t.Context(), crane, args...).CombinedOutput()
				return string(out), err
			}
			name := r.Addr() + "/small:1"
			if options.Auth {
				if out, err := run("push", layout, name); err == nil {
					t.Fatalf("pushed without a password: %s", out)
				}
				if out, err := run("auth", "login", r.Addr(), "-u", harness.RegistryUser, "-p", harness.RegistryPassword); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if out, err := run("push", layout, name); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if out, err := run("validate", "--remote", name); err != nil || !strings.Contains(out, "PASS") {
				t.Fatalf("%v: %s", err, out)
			}
			if puts, err := r.Requests("PUT /v2/small/manifests/1"); err != nil || len(puts) == 0 {
				t.Errorf("the log does not show the push: %v", err)
			}
		})
	}
}

// TestRegistryRefusesStrangers: without the CA, or without the password, there is no answer to work with.
func TestRegistryRefusesStrangers(t *testing.T) {
	r := harness.NewRegistryWith(t, harness.RegistryOptions{TLS: true, Auth: true})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v2/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("an unknown CA was accepted: %s, %v", resp.Status, resp.Body.Close())
	}
	trusting, err := r.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := trusting.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("no password, and the answer is %s, %v", resp.Status, err)
	}
}

// TestLeaks: a lease, a view and a file that appear are named, and nothing is when they are gone.
func TestLeaks(t *testing.T) {
	c := harness.Start(t, harness.Containerd16).Client(t)
	before, err := harness.TakeInventory(t.Context(), c, "native")
	if err != nil {
		t.Fatal(err)
	}
	lease, err := c.LeasesService().Create(t.Context(), leases.WithID("forgotten"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SnapshotService("native").View(leases.WithLease(t.Context(), lease.ID), "looked", ""); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(os.TempDir(), "veneer-left")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = before.Leaks(t.Context())
	for _, want := range []string{"lease forgotten", "View snapshot looked", "temporary veneer-left"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if err := errors.Join(os.Remove(file), c.SnapshotService("native").Remove(t.Context(), "looked"),
		c.LeasesService().Delete(t.Context(), lease)); err != nil {
		t.Fatal(err)
	}
	if err := before.Leaks(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestUnprivileged: the command is nobody, can reach its directory, and cannot become anybody else.
func TestUnprivileged(t *testing.T) {
	dir := harness.UnprivilegedDir(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `id -u; id -g; grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Groups)' /proc/self/status; touch "$0/x"`, dir)
	harness.Unprivileged(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const none = "0000000000000000"
	want := "65534 65534 Groups: CapPrm: " + none + " CapEff: " + none + " CapBnd: " + none + " CapAmb: " + none + " NoNewPrivs: 1"
	if got := strings.Join(strings.Fields(string(out)), " "); got != want {
		t.Errorf("it is %s\nnot   %s", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	}
}

// TestOracles: both readers agree with the harness's writer, and the validator sees one changed byte.
func TestOracles(t *testing.T) {
	layout := harness.Extract(t, harness.DebianImage(t))
	if err := harness.Validate(t, layout, ""); err != nil {
		t.Error(err)
	}
	rootfs := harness.Unpack(t, layout, "")
	if link, err := os.Readlink(filepath.Join(rootfs, "bin")); err != nil || link != "usr/bin" {
		t.Errorf("/bin is a link to %q, %v", link, err)
	}
	if info, err := os.Stat(filepath.Join(rootfs, "usr/bin/su")); err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("su lost its setuid bit: %v, %v", info, err)
	}
	spoil(t, layout)
	if err := harness.Validate(t, layout, ""); err == nil {
		t.Error("a changed byte in the layer is not seen")
	}
}

// spoil changes a byte in the middle of the largest blob.
func spoil(t *testing.T, layout string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var size int64
	for _, blob := range blobs {
		info, err := os.Stat(blob)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > size {
			largest, size = blob, info.Size()
		}
	}
	data, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	data[size/2]++
	if err := os.WriteFile(largest, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// smallLayer returns the path of a tar with one file.
func smallLayer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "hello", Mode: 0o644, Size: 6})
	_, bad := w.Write([]byte("hello\n"))
	if err := errors.Join(err, bad, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}
