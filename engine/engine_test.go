package engine_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
)

// notes collects what an engine is told to say.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, s)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n")
}

func writeBlob(ctx context.Context, t *testing.T, e *engine.Engine, data string) ocispec.Descriptor {
	t.Helper()
	desc := ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString(data), Size: int64(len(data))}
	if err := cstore.WriteBlob(ctx, e.Client.ContentStore(), "test-"+desc.Digest.String(), strings.NewReader(data), desc); err != nil {
		t.Fatal(err)
	}
	return desc
}

func TestEmbeddedKeepsWhatImagesNameAcrossReopen(t *testing.T) {
	o := engine.Options{Mode: engine.Embedded, Root: filepath.Join(t.TempDir(), "a", "root")}
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := e.Context(t.Context())
	kept, lost := writeBlob(ctx, t, e, "kept"), writeBlob(ctx, t, e, "lost")
	if _, err := e.Client.ImageService().Create(ctx, images.Image{Name: "docker.io/library/x:latest", Target: kept}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(o.Root); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("root is %v, %v; want mode 0700", fi.Mode(), err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}

	e, ctx = enginetest.Open(t, o)
	if err := e.CollectGarbage(ctx); err != nil {
		t.Fatal(err)
	}
	if b, err := cstore.ReadBlob(ctx, e.Client.ContentStore(), kept); err != nil || string(b) != "kept" {
		t.Errorf("blob of the image: %q, %v", b, err)
	}
	if _, err := e.Client.ContentStore().Info(ctx, lost.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("blob that nothing names: %v, want not found", err)
	}
	names, err := e.Client.NamespaceService().List(ctx)
	if err != nil || len(names) != 1 || names[0] != "default" {
		t.Errorf("namespaces %v, %v; want default", names, err)
	}
}

// TestCollectsUnknownIngest: what a process wrote that was killed before the
// metadata store knew of it goes with the next collection that is asked for.
func TestCollectsUnknownIngest(t *testing.T) {
	o := engine.Options{Mode: engine.Embedded, Root: filepath.Join(t.TempDir(), "root")}
	e, _ := enginetest.Open(t, o)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	ingests := filepath.Join(o.Root, "content", "ingest")
	store, err := local.NewStore(filepath.Dir(ingests))
	if err != nil {
		t.Fatal(err)
	}
	w, err := store.Writer(t.Context(), cstore.WithRef("unknown"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(ingests); err != nil || len(left) != 1 {
		t.Fatalf("%d ingests, %v; want 1", len(left), err)
	}
	e, ctx := enginetest.Open(t, o)
	if err := e.CollectGarbage(ctx); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(ingests); err != nil || len(left) > 0 {
		t.Errorf("ingests left: %v, %v", left, err)
	}
}

func TestSynchronousDeletesCollect(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *engine.Engine, leases.Lease) error{
		"lease": func(ctx context.Context, e *engine.Engine, l leases.Lease) error {
			return e.Client.LeasesService().Delete(ctx, l, leases.SynchronousDelete)
		},
		"image": func(ctx context.Context, e *engine.Engine, l leases.Lease) error {
			if err := e.Client.LeasesService().Delete(ctx, l); err != nil {
				return err
			}
			if _, err := e.Client.ImageService().Create(ctx, images.Image{Name: "x", Target: ocispec.Descriptor{Digest: digest.FromString("y"), MediaType: "x/y", Size: 1}}); err != nil {
				return err
			}
			return e.Client.ImageService().Delete(ctx, "x", images.SynchronousDelete())
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, ctx := enginetest.Embedded(t, "")
			lease, err := e.Client.LeasesService().Create(ctx, leases.WithRandomID())
			if err != nil {
				t.Fatal(err)
			}
			blob := writeBlob(leases.WithLease(ctx, lease.ID), t, e, "leased")
			if err := e.CollectGarbage(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Client.ContentStore().Info(ctx, blob.Digest); err != nil {
				t.Fatalf("leased blob: %v", err)
			}
			if err := remove(ctx, e, lease); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Client.ContentStore().Info(ctx, blob.Digest); !errdefs.IsNotFound(err) {
				t.Errorf("blob after synchronous delete: %v, want not found", err)
			}
		})
	}
}

// TestEmbeddedRefusesWhatItLacks calls what panics on a client that has no connection.
func TestEmbeddedRefusesWhatItLacks(t *testing.T) {
	e, ctx := enginetest.Embedded(t, "native")
	if caps, err := e.Client.GetSnapshotterCapabilities(ctx, "overlayfs"); err != nil || len(caps) != 0 {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	if m, err := e.Client.GetSnapshotterSupportedPlatforms(ctx, "native"); err != nil || !m.Match(ocispec.Platform{OS: "linux", Architecture: "amd64"}) {
		t.Errorf("platforms: %v, %v", m, err)
	}
	if _, err := e.Client.Version(ctx); !strings.Contains(err.Error(), "embedded engine has no") {
		t.Errorf("version: %v", err)
	}
	if _, err := e.Client.Server(ctx); !errdefs.IsNotImplemented(err) {
		t.Errorf("server: %v", err)
	}
	if _, err := e.Client.TaskService().List(ctx, &tasks.ListTasksRequest{}); err == nil {
		t.Error("tasks: no error")
	}
	if _, errs := e.Client.Subscribe(ctx); <-errs == nil {
		t.Error("subscribe: no error")
	}
	if _, err := e.Client.MountManager().List(ctx); err == nil {
		t.Error("mount manager: no error")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    engine.Options
		want []string
	}{
		"mode":        {engine.Options{Mode: "docker", Root: dir}, []string{`"docker"`, "auto", "embedded"}},
		"namespace":   {engine.Options{Namespace: "a/b", Root: dir}, []string{`"a/b"`}},
		"snapshotter": {engine.Options{Mode: engine.Embedded, Root: dir, Snapshotter: "btrfs"}, []string{`"btrfs"`, "native, overlayfs"}},
		"unpacker":    {engine.Options{Mode: engine.Embedded, Root: dir, Unpacker: "docker"}, []string{`"docker"`, "auto or containerd"}},
		"no socket":   {engine.Options{Mode: engine.Containerd, Root: dir, Address: "unix://" + dir + "/none.sock"}, []string{"no containerd at " + dir + "/none.sock"}},
		"dead socket": {engine.Options{Mode: engine.Containerd, Root: dir, Address: dead}, []string{"no containerd answers at " + dead, "connection refused"}},
		"root a file": {engine.Options{Mode: engine.Embedded, Root: file + "/x"}, []string{file, "not a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := engine.Open(t.Context(), c.o)
			if err == nil {
				t.Fatalf("opened %s", e)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
		})
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	enginetest.Root(t)
	// Room for the lock, and for that and the half of a database.
	for _, size := range []string{"4k", "12k", "16k"} {
		t.Run(size, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				// Trying fs-verity, as the content store does, keeps a tmpfs
				// busy on some kernels after all files are closed.
				if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: filepath.Join(dir, "root")})
			if err == nil {
				t.Fatalf("opened (closed: %v)", e.Close())
			}
			if !errors.Is(err, unix.ENOSPC) || !errors.Is(err, engine.ErrRoot) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func BenchmarkOpenEmbedded(b *testing.B) {
	o := engine.Options{Mode: engine.Embedded, Root: b.TempDir()}
	for b.Loop() {
		e, err := engine.Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLockWaits(t *testing.T) {
	o := engine.Options{Mode: engine.Embedded, Root: t.TempDir()}
	first, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()

	var n notes
	o.Notify = n.add
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := engine.Open(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second open: %v, want deadline exceeded", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("cancelling took %v", took)
	}
	want := "waiting for another veneer process (pid "
	if s := n.String(); !strings.HasPrefix(s, want) || !strings.HasSuffix(s, " on "+o.Root) || strings.Contains(s, "\n") {
		t.Errorf("notes %q, want one line %q…", s, want)
	}

	opened := make(chan error)
	go func() {
		second, err := engine.Open(t.Context(), o)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	time.Sleep(150 * time.Millisecond)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatalf("open after the first closed: %v", err)
	}
}

// TestUnprivileged runs itself again as a user who has nothing but a directory.
func TestUnprivileged(t *testing.T) {
	if root := os.Getenv("VENEER_TEST_UNPRIVILEGED"); root != "" {
		unprivileged(t, root)
		return
	}
	enginetest.AsNobody(t, func(dir string) string { return "VENEER_TEST_UNPRIVILEGED=" + dir })
}

func unprivileged(t *testing.T, dir string) {
	if got, want := engine.DefaultRoot(), dir+"/.local/share/veneer"; got != want {
		t.Errorf("default root %s, want %s", got, want)
	}
	for _, snapshotter := range []string{"overlayfs", "native"} {
		e, ctx := enginetest.Open(t, engine.Options{Mode: engine.Embedded, Root: filepath.Join(dir, snapshotter), Snapshotter: snapshotter})
		blob := writeBlob(ctx, t, e, "x")
		if _, err := e.Client.ImageService().Create(ctx, images.Image{Name: "x", Target: blob}); err != nil {
			t.Error(err)
		}
		if err := e.CollectGarbage(ctx); err != nil {
			t.Error(err)
		}
		if err := e.Unpacks(); !errors.Is(err, engine.ErrCannotUnpack) || !errors.Is(err, engine.ErrNeedsRoot) {
			t.Errorf("unpacks: %v", err)
		}
	}
	if _, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: "/var/lib/no-such"}); err == nil || !strings.Contains(err.Error(), "permission denied") || !errors.Is(err, engine.ErrRoot) {
		t.Errorf("root that is not ours: %v", err)
	}
}

func TestSocketPermission(t *testing.T) {
	if socket := os.Getenv("VENEER_TEST_SOCKET"); socket != "" {
		_, err := engine.Open(t.Context(), engine.Options{Mode: engine.Containerd, Address: socket, Root: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "no permission for the socket "+socket) || !errors.Is(err, engine.ErrUnreachable) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("containerd mode: %v", err)
		}
		_, err = engine.Open(t.Context(), engine.Options{Address: socket, Root: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "no permission for the socket "+socket) || !errors.Is(err, engine.ErrNotReplaced) {
			t.Errorf("auto mode: %v", err)
		}
		return
	}
	enginetest.AsNobody(t, func(dir string) string {
		socket := filepath.Join(dir, "c.sock")
		l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		if err := os.Chmod(socket, 0o600); err != nil {
			t.Fatal(err)
		}
		return "VENEER_TEST_SOCKET=" + socket
	})
}

// inOtherMounts calls fn where dir is another file system than everywhere else.
func inOtherMounts(dir string, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends with its mounts.
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

func TestDaemon(t *testing.T) {
	socket := enginetest.Daemon(t)
	var n notes
	e, ctx := enginetest.Open(t, engine.Options{Address: "unix://" + socket, Namespace: "other", Root: t.TempDir(), Notify: n.add})
	if e.Mode != engine.Containerd || n.String() != "" {
		t.Fatalf("engine %s, notes %q", e, &n)
	}
	if err := e.Unpacks(); err != nil {
		t.Error(err)
	}
	if err := e.Sees(ctx, filepath.Dir(socket)); err != nil {
		t.Error(err)
	}
	hidden := t.TempDir()
	if err := inOtherMounts(hidden, func() error { return e.Sees(ctx, hidden) }); err == nil || !strings.Contains(err.Error(), "another directory to containerd") {
		t.Errorf("a directory that the daemon sees otherwise: %v", err)
	}
	lease, err := e.Client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	blob := writeBlob(leases.WithLease(ctx, lease.ID), t, e, "leased")
	if err := e.CollectGarbage(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.ContentStore().Info(ctx, blob.Digest); err != nil {
		t.Errorf("leased blob: %v", err)
	}
	if err := e.Client.LeasesService().Delete(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if err := e.CollectGarbage(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.ContentStore().Info(ctx, blob.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("blob after its lease: %v, want not found", err)
	}
	for _, name := range []string{"devmapper", "nonsense"} {
		_, err := engine.Open(t.Context(), engine.Options{Address: socket, Snapshotter: name, Root: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "native, overlayfs") {
			t.Errorf("snapshotter %s: %v", name, err)
		}
	}
}

// A half-written blob whose name a killed process had not written down, or that has no data, is gone when the stores
// are opened again; one with both stays for veneer prune.
func TestEmbeddedRemovesNamelessIngests(t *testing.T) {
	root := t.TempDir()
	ingest := filepath.Join(root, "content", "ingest")
	for _, file := range []string{"nameless/startedat", "empty/ref", "unbegun/ref", "named/ref"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(ingest, file)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(ingest, "nameless", "startedat"), []byte("2026"), 0o600),
		os.WriteFile(filepath.Join(ingest, "empty", "ref"), nil, 0o600),
		os.WriteFile(filepath.Join(ingest, "unbegun", "ref"), []byte("default/2/veneer-layer"), 0o600),
		os.WriteFile(filepath.Join(ingest, "named", "ref"), []byte("default/1/veneer-layer"), 0o600),
		os.WriteFile(filepath.Join(ingest, "named", "data"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(ingest)
	if err != nil || len(entries) != 1 || entries[0].Name() != "named" {
		t.Errorf("left %v, %v", entries, err)
	}
}
