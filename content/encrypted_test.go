package content_test

import (
	"testing"

	"github.com/veneer-build/veneer/content"
)

func TestIsEncrypted(t *testing.T) {
	for mediaType, want := range map[string]bool{
		"application/vnd.oci.image.layer.v1.tar+encrypted":                       true,
		"application/vnd.oci.image.layer.v1.tar+gzip+encrypted":                  true,
		"application/vnd.oci.image.layer.v1.tar+zstd+encrypted":                  true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted": true,
		"application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted":            true,
		"application/vnd.docker.image.rootfs.diff.tar.gzip+enc":                  true,
		"application/vnd.oci.image.layer.v1.tar+gzip":                            false,
		"application/vnd.oci.image.layer.v1.tar":                                 false,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":                      false,
		"encrypted": false,
		"":          false,
	} {
		if got := content.IsEncrypted(mediaType); got != want {
			t.Errorf("%s: encrypted %v", mediaType, got)
		}
	}
}

func TestEncryptionWarning(t *testing.T) {
	for e, want := range map[content.Encryption]string{
		{Plain: 3}:               "",
		{Encrypted: 2}:           "its layers are encrypted: who gets the image needs the keys to run it",
		{Encrypted: 2, Plain: 1}: "2 of its 3 layers are encrypted, the others are not: everybody who gets the image can read those",
	} {
		if got := e.Warning(); got != want {
			t.Errorf("%+v: %q", e, got)
		}
	}
}
