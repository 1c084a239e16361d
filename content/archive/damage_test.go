package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// damageTest loads damaged versions of an archive. Either it is refused, and
// nothing has changed, or the damage was to what carries nothing, and the right
// image is there.
type damageTest struct {
	t       *testing.T
	ctx     context.Context //nolint:containedctx // of the test
	s       storetest.Store
	name    string
	want    digest.Digest
	blobs   int // before a load
	refused int
	taken   int
}

// newDamageTest has the base in its store, if the image is on one.
func newDamageTest(t *testing.T, base *storetest.Image, img storetest.Image) *damageTest {
	t.Helper()
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // ten thousand loads, a sync for each blob
	}
	ctx, s := storetest.Open(t)
	if base != nil {
		if _, err := archive.Import(ctx, s.Client, bytes.NewReader(oci(base.Manifest.Descriptor, base.Blobs())), archive.Options{}); err != nil {
			t.Fatal(err)
		}
		s.Collect(ctx, t)
	}
	return &damageTest{t: t, ctx: ctx, s: s, name: "docker.io/library/app:2", want: img.Manifest.Digest, blobs: len(s.Blobs(ctx, t))}
}

func (d *damageTest) load(what string, data []byte) {
	d.t.Helper()
	_, err := archive.Import(d.ctx, d.s.Client, bytes.NewReader(data), archive.Options{})
	all, lerr := d.s.ImageService().List(d.ctx)
	if lerr != nil {
		d.t.Fatal(lerr)
	}
	all = slices.DeleteFunc(all, func(i images.Image) bool { return i.Name == "docker.io/library/app:1" }) // the base
	if err != nil {
		d.refused++
		if len(all) > 0 || len(d.s.Blobs(d.ctx, d.t)) != d.blobs {
			d.t.Fatalf("%s: %v; names %v, %d blobs of %d", what, err, namesOf(all), len(d.s.Blobs(d.ctx, d.t)), d.blobs)
		}
		return
	}
	d.taken++
	if len(all) != 1 || all[0].Name != d.name || all[0].Target.Digest != d.want {
		d.t.Fatalf("%s: taken as %+v", what, all)
	}
	if img, err := content.ResolveTarget(d.ctx, d.s.ContentStore(), all[0].Target, ""); err != nil || len(img.Missing) > 0 {
		d.t.Fatalf("%s: taken, but %v", what, err)
	}
	if _, err := removeNames(d.ctx, d.s, []string{d.name}, true); err != nil {
		d.t.Fatal(err)
	}
	d.s.Collect(d.ctx, d.t)
}

// damaged are the archives that are damaged in every way: whole and delta.
func damaged(t *testing.T) map[string]func(t *testing.T) (*damageTest, []byte) {
	t.Helper()
	base := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "c"}})
	return map[string]func(t *testing.T) (*damageTest, []byte){
		"delta": func(t *testing.T) (*damageTest, []byte) {
			return newDamageTest(t, &base, next), deltaOf(t, base, next)
		},
		"whole": func(t *testing.T) (*damageTest, []byte) {
			d := newDamageTest(t, nil, next)
			ctx, s := storetest.Open(t)
			s.Put(ctx, t, next.Blobs()...)
			return d, export(ctx, t, s, nil, item(next.Manifest.Descriptor, "app:2"))
		},
	}
}

// exhaustive asks for each byte, which takes minutes (make soak).
func exhaustive() bool { return os.Getenv("VENEER_SOAK") != "" }

// TestDamagedAnywhere flips a bit of every byte, in the short form of every
// fourth that is not zero, and of some that are.
func TestDamagedAnywhere(t *testing.T) {
	for what, open := range damaged(t) {
		t.Run(what, func(t *testing.T) {
			d, data := open(t)
			for i := range data {
				if skip := i%4 != 0 || data[i] == 0 && i%37 != 0; skip && !exhaustive() {
					continue
				}
				bad := slices.Clone(data)
				bad[i] ^= 1 << (i % 8)
				d.load(fmt.Sprintf("bit %d of byte %d", i%8, i), bad)
			}
			d.load("undamaged", data)
			checkNothingOpen(d.ctx, t, d.s)
			t.Logf("of %d, %d refused, %d taken whose damage meant nothing", len(data), d.refused, d.taken)
		})
	}
}

// TestCutAnywhere cuts the archive: around the boundaries of its blocks, where
// a tar may end for good, and between them.
func TestCutAnywhere(t *testing.T) {
	for what, open := range damaged(t) {
		t.Run(what, func(t *testing.T) {
			d, data := open(t)
			for n := range data {
				if at := n % 512; at > 1 && at < 511 && at != 100 && !exhaustive() {
					continue
				}
				d.load(fmt.Sprintf("cut at %d of %d", n, len(data)), data[:n])
			}
			if d.taken > 512+1024 {
				t.Errorf("%d cuts were taken, more than the padding and the end of a tar are long", d.taken)
			}
			checkNothingOpen(d.ctx, t, d.s)
			t.Logf("of %d, %d refused, %d taken that lacked padding", len(data), d.refused, d.taken)
		})
	}
}
