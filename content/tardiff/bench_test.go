package tardiff_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/veneer-build/veneer/content/tardiff"
)

// pairs are an old file and a new one, of the kinds that images have.
func pairs() map[string][2][]byte {
	r := rand.New(rand.NewPCG(12, 17))
	program := random(r, 8<<20)
	moved := slices.Clone(program)
	for i := 0; i < len(moved); i += 40 + r.IntN(40) {
		moved[i]++
	}
	text := words(r, 8<<20)
	return map[string][2][]byte{
		"equal":    {program, program},
		"inserted": {program, slices.Concat(program[:3<<20], random(r, 100_000), program[3<<20:])},
		"program":  {program, moved},
		"text":     {text, slices.Concat(text[:1<<20], text[4<<20:], text[2<<20:4<<20])},
		"unlike":   {program, random(r, 8<<20)},
	}
}

func BenchmarkMake(b *testing.B) {
	for name, p := range pairs() {
		next := tarOf(b, regular("f", p[1]))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(next)))
			for b.Loop() {
				var size counter
				if _, err := tardiff.Make(b.Context(), bytes.NewReader(next), memTree{"f": p[0]}, &size); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(size), "delta-bytes")
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for name, p := range pairs() {
		next, old := tarOf(b, regular("f", p[1])), memTree{"f": p[0]}
		delta, _ := makeDelta(b, next, old)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(next)))
			for b.Loop() {
				if _, err := tardiff.Apply(b.Context(), bytes.NewReader(delta), old, io.Discard, tardiff.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
