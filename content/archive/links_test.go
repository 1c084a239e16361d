package archive_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// TestImportLinks: a layout's blobs may be links to files beside them, before or behind these in the archive, symbolic or
// hard, through other links; and whatever a link leads to must be the blob that its name says.
func TestImportLinks(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	layer, config := img.Layers[0], img.Config
	start := []tarEntry{file("oci-layout", ociLayout), file("index.json", indexOf(carrying(img.Manifest.Descriptor, "app:1"))), blobFile(img.Manifest)}
	blob := func(b storetest.Blob) string { return "blobs/sha256/" + b.Digest.Encoded() }
	link := func(kind byte, name, to string) tarEntry {
		return tarEntry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: to}}
	}
	data := file("blobs/rootfs.tar.gz", string(layer.Bytes))
	for _, c := range []struct {
		what string
		more []tarEntry
		says string // empty: it is loaded
	}{
		{"symbolic, behind", []tarEntry{blobFile(config), data, link(tar.TypeSymlink, blob(layer), "../rootfs.tar.gz")}, ""},
		{"symbolic, before", []tarEntry{blobFile(config), link(tar.TypeSymlink, blob(layer), "../rootfs.tar.gz"), data}, ""},
		{"hard", []tarEntry{blobFile(config), data, link(tar.TypeLink, blob(layer), "./blobs/rootfs.tar.gz")}, ""},
		{"through another", []tarEntry{blobFile(config), data, link(tar.TypeSymlink, "blobs/l", "rootfs.tar.gz"), link(tar.TypeSymlink, blob(layer), "../l")}, ""},
		{"elsewhere in the archive", []tarEntry{file("oci/config.json", string(config.Bytes)), blobFile(layer), link(tar.TypeSymlink, blob(config), "../../oci/config.json")}, ""},
		{"unused", []tarEntry{blobFile(config), blobFile(layer), link(tar.TypeSymlink, "blobs/latest", "nowhere")}, ""},
		{"to other bytes", []tarEntry{blobFile(config), file("blobs/rootfs.tar.gz", "other"), link(tar.TypeSymlink, blob(layer), "../rootfs.tar.gz")}, "its bytes are not those"},
		{"to another blob", []tarEntry{blobFile(config), link(tar.TypeSymlink, blob(layer), config.Digest.Encoded())}, "its bytes are not those"},
		{"to nothing", []tarEntry{blobFile(config), link(tar.TypeSymlink, blob(layer), "../rootfs.tar.gz")}, "which the archive does not have"},
		{"to an empty file", []tarEntry{blobFile(config), file("empty", ""), link(tar.TypeSymlink, blob(layer), "../../empty")}, "its bytes are not those"},
		{"in a circle", []tarEntry{blobFile(config), link(tar.TypeSymlink, "b", "a"), link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, blob(layer), "../../a")}, "which the archive does not have"},
		{"out of it", []tarEntry{blobFile(config), link(tar.TypeSymlink, blob(layer), "../../../rootfs.tar.gz")}, "leads out of the archive"},
		{"to the root", []tarEntry{blobFile(config), link(tar.TypeSymlink, blob(layer), "/rootfs.tar.gz")}, "it is a link"},
		{"hard, out of it", []tarEntry{blobFile(config), link(tar.TypeLink, blob(layer), "../rootfs.tar.gz")}, "leads out of the archive"},
		{"of another algorithm", []tarEntry{blobFile(config), blobFile(layer), data, link(tar.TypeSymlink, "blobs/sha512/"+digest.SHA512.FromString("x").Encoded(), "../rootfs.tar.gz")}, "only blobs named by sha256"},
		{"a document", []tarEntry{blobFile(config), blobFile(layer), link(tar.TypeSymlink, "manifest.json", "index.json")}, "it is a link"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			_, err := archive.Import(ctx, s.Client, bytes.NewReader(entries(append(start[:3:3], c.more...)...)), archive.Options{})
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v, want %q", err, c.says)
				}
				checkNothingLeft(ctx, t, s)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := content.Resolve(ctx, s.Client, "app:1", ""); err != nil || len(got.Missing) > 0 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
