package archive_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/test/ceiling"
)

// FuzzImportMemory: whatever an entry of an archive is, however often it comes, and whatever document comes how many
// times longer, loading it takes no more than documents of 8 MiB and the names that are remembered may.
func FuzzImportMemory(f *testing.F) {
	head := func(h tar.Header) []byte { return entries(tarEntry{h, ""})[:1024] }
	f.Add(head(tar.Header{Name: "a", Typeflag: tar.TypeReg}), uint16(20_000), "manifest.json", "[", `"a",`, uint16(60_000))
	f.Add(head(tar.Header{Name: "a", Linkname: strings.Repeat("b", 100), Typeflag: tar.TypeSymlink}), uint16(20_000), "index.json", `{"manifests":[`, `{},`, uint16(60_000))
	f.Add(entries(tarEntry{tar.Header{Name: strings.Repeat("a/", 2000) + "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX}, ""}), uint16(1000), "index.json", `{"manifests":[]`, `,"a":0`, uint16(60_000))
	f.Add([]byte{}, uint16(0), "index.json", `{"manifests":`, `[`, uint16(60_000))
	ctx, s := storetest.Open(f)
	f.Fuzz(func(t *testing.T, entry []byte, times uint16, name, begin, piece string, pieces uint16) {
		if len(entry)*int(times) > 32<<20 || len(piece)*int(pieces) > 9<<20 || !slices.Contains([]string{"index.json", "manifest.json", "SHA256SUMS"}, name) {
			return
		}
		list := bytes.Repeat(entry, int(times))
		for i := 0; len(entry) >= 1024 && i < int(times); i++ {
			copy(list[i*len(entry):], fmt.Sprintf("%07d", i))
			retyped(list[i*len(entry):], entry[156])
		}
		docs := entries(file("oci-layout", ociLayout), file(name, begin+strings.Repeat(piece, int(pieces))))
		data := append(docs[:len(docs)-1024], list...)
		// A document's values take twenty times their text, up to a million of them.
		ceiling.Within(t, 256<<20, func() {
			_, _ = archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{}) // Most are refused.
		})
	})
}
