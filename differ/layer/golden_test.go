package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// update writes the table anew: `go test ./differ/layer -run Golden -update`.
var update = flag.Bool("update", false, "write the golden digests anew")

const goldenFile = "testdata/compressed.golden"

// goldenInputs are some megabytes of each kind of data that compressors treat differently. They depend on nothing but
// this code: ChaCha8 is specified.
func goldenInputs() map[string][]byte {
	const size = 3<<20 + 12345 // No multiple of a block.
	seed := [32]byte{}
	copy(seed[:], "golden digests of Veneer")
	src := rand.NewChaCha8(seed)
	next := func(n uint64) uint64 {
		var b [8]byte
		_, _ = src.Read(b[:]) // Never fails.
		return binary.LittleEndian.Uint64(b[:]) % n
	}
	random := make([]byte, size)
	_, _ = src.Read(random)
	words := strings.Fields("the of base layer image and file snapshot in to 0755 root usr share doc copyright is which that by /bin/sh\n with library a")
	var text, mixed bytes.Buffer
	for text.Len() < size {
		text.WriteString(words[next(uint64(len(words)))])
		text.WriteByte(" \n\t;"[next(40)/10%4])
	}
	for mixed.Len() < size {
		switch at := next(size - 70_000); next(4) {
		case 0:
			mixed.Write(random[at:][:next(70_000)])
		case 1:
			mixed.Write(make([]byte, next(70_000)))
		default:
			mixed.Write(text.Bytes()[at:][:next(70_000)])
		}
	}
	return map[string][]byte{
		"empty": {}, "zeros": make([]byte, size), "random": random, "text": text.Bytes()[:size], "mixed": mixed.Bytes()[:size],
	}
}

// TestGoldenCompression: the bytes of each compressor are those of the last release, at its own level and at one that a
// user says. internal/recompress.TestGolden has all levels. A failure means that
// layers get other digests than before: by a library's new version, which must be a decision, told in the changelog
// (docs/images.md, "The same digest again"), or by a mistake.
func TestGoldenCompression(t *testing.T) {
	var lines []string
	inputs := goldenInputs()
	for name, data := range inputs {
		lines = append(lines, fmt.Sprintf("%s input %s", name, sum(data)))
		for compression, levels := range map[Compression][]int{Gzip: {0, 9}, Zstd: {0, 1}} {
			for _, level := range levels {
				// As the pipeline writes it.
				var out bytes.Buffer
				w, _, err := compression.writer(&out, level)
				if err != nil {
					t.Fatal(err)
				}
				for piece := range slices.Chunk(data, chunkSize) {
					if _, err := w.Write(piece); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				lines = append(lines, fmt.Sprintf("%s %s %d %s", name, compression, level, sum(out.Bytes())))
			}
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Split(string(want), "\n")
	for _, line := range lines {
		if !slices.Contains(have, line) {
			t.Errorf("not in %s: %s", goldenFile, line)
		}
	}
	if len(have)-1 != len(lines) {
		t.Errorf("%d lines, %s has %d", len(lines), goldenFile, len(have)-1)
	}
}

func sum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}
