package tardiff_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/content/tardiff"
)

// version2 is a delta of version 2.
func version2(t testing.TB, ops ...[]byte) []byte {
	t.Helper()
	return append([]byte("tardf2\n\x00"), deltaOf(t, ops...)[8:]...)
}

// patchOf is the operation 5 that makes new bytes of old ones, as tar-diff writes it.
func patchOf(t testing.TB, old, next []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderDictRaw(0, old), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(next); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return op(5, uint64(b.Len()), b.String())
}

// TestDictionary: operation 5 of version 2 makes a file of an old one as a dictionary. In version 1 there is none.
func TestDictionary(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 17))
	was := random(r, 300_000)
	now := append(append(random(r, 100), was[:200_000]...), was[200_100:]...)
	old := memTree{"f": was, "empty": nil, "large": make([]byte, 5<<20)}
	patch := patchOf(t, was, now)
	if len(patch) > len(now)/10 {
		t.Fatalf("the patch has %d bytes", len(patch))
	}
	var got bytes.Buffer
	delta := version2(t, data("head"), open("f"), op(2, 10, ""), patch, op(4, 0, ""), op(2, 5, ""), open("empty"), patchOf(t, nil, []byte("tail")))
	if _, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), old, &got, tardiff.Limits{}); err != nil {
		t.Fatal(err)
	}
	if want := "head" + string(was[:10]) + string(now) + string(was[:5]) + "tail"; got.String() != want {
		t.Errorf("%d bytes, not %d", got.Len(), len(want))
	}
	for what, c := range map[string]struct {
		delta []byte
		says  string
	}{
		"in version 1":     {deltaOf(t, open("f"), patch), "operation 5 is unknown"},
		"no file":          {version2(t, patch), "no file is open"},
		"a large file":     {version2(t, open("large"), patch), "operation 5"},
		"too much":         {version2(t, open("f"), patchOf(t, was, bytes.Repeat([]byte("a"), 600_000))), "more than"},
		"a large window":   {version2(t, open("f"), op(5, 20, "\x28\xb5\x2f\xfd\x00\x90"+strings.Repeat("\x00", 14))), "window"},
		"no frame":         {version2(t, open("f"), op(5, 10, "0123456789")), ""},
		"frame cut off":    {version2(t, open("f"), op(5, 100, string(patch[5:50]))), ""},
		"patches for ever": {version2(t, open("empty"), bytes.Repeat(patchOf(t, nil, nil), 5000)), "opens"},
	} {
		_, err := tardiff.Apply(t.Context(), bytes.NewReader(c.delta), old, io.Discard, tardiff.Limits{Size: 500_000})
		kind := tardiff.ErrFormat
		if strings.HasPrefix(what, "a large") {
			kind = tardiff.ErrLimit
		}
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
