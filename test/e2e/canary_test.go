package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	cstore "github.com/containerd/containerd/v2/core/content"
)

// canary is a directory outside of every source and every root file system, watched by the kernel: nothing in it may be
// opened, read, listed, changed, or made.
type canary struct {
	dir, mark string
	watch     int
	before    map[string]string
}

// newCanary makes one, with a file "secret", a directory "d" with a file "f" in it, and a mark in each.
func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{dir: filepath.Join(t.TempDir(), "canary"), mark: "canary-" + digest.FromString(t.Name()).Encoded()[:20]}
	write(t, filepath.Join(c.dir, "secret"), c.mark)
	write(t, filepath.Join(c.dir, "d/f"), c.mark)
	must(t, os.Chmod(filepath.Join(c.dir, "secret"), 0o600))
	c.before = describe(t, c.dir, true)
	var err error
	c.watch, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(c.watch)) })
	for _, name := range []string{"", "secret", "d", "d/f"} {
		_, err := unix.InotifyAddWatch(c.watch, filepath.Join(c.dir, name), unix.IN_ALL_EVENTS)
		must(t, err)
	}
	return c
}

// sings fails the test if anything happened to the canary, and begins anew.
func (c *canary) sings(t *testing.T) {
	t.Helper()
	for _, event := range c.events(t) {
		t.Errorf("the canary was touched: %s", event)
	}
	wantSame(t, "the canary", c.before, describe(t, c.dir, true))
	c.events(t) // those of describe
}

func (c *canary) events(t *testing.T) []string {
	t.Helper()
	var list []string
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(c.watch, buf)
		if errors.Is(err, unix.EAGAIN) {
			return list
		}
		must(t, err)
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			name := int(binary.NativeEndian.Uint32(rest[12:]))
			end := unix.SizeofInotifyEvent + name
			list = append(list, fmt.Sprintf("event %#x %q", binary.NativeEndian.Uint32(rest[4:]), strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00")))
			rest = rest[end:]
		}
	}
}

// wantNowhere fails the test if a mark is in any blob, as stored or uncompressed, of the engine.
func (p *place) wantNowhere(t *testing.T, marks ...string) {
	t.Helper()
	store := p.engine.Client.ContentStore()
	must(t, store.Walk(p.ctx, func(info cstore.Info) error {
		for k, v := range info.Labels {
			if has(k+"="+v, marks) {
				t.Errorf("label %s=%s of blob %s", k, v, info.Digest)
			}
		}
		blob, err := cstore.ReadBlob(p.ctx, store, ocispec.Descriptor{Digest: info.Digest, Size: info.Size})
		if errdefs.IsNotFound(err) {
			return nil // Collected since it was listed.
		}
		if err != nil {
			return err
		}
		data := blob
		if r, err := compression.DecompressStream(bytes.NewReader(blob)); err == nil {
			if plain, err := io.ReadAll(r); err == nil {
				data = slices.Concat(blob, plain)
			}
			if err := r.Close(); err != nil {
				return err
			}
		}
		if has(string(data), marks) {
			t.Errorf("a mark of %q is in blob %s", marks, info.Digest)
		}
		return nil
	}))
}

func has(s string, marks []string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(s, mark) })
}
