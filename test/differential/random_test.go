package differential_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

const (
	// someSeeds are tried always, and manySeeds with VENEER_SOAK=1.
	someSeeds, manySeeds = 10, 400
	// maxShown bounds the differences that are shown of one seed.
	maxShown = 12
)

// TestRandom: random Dockerfiles over random trees give what BuildKit makes of them, or fail where it does.
func TestRandom(t *testing.T) {
	p := newPeers(t)
	var seeds []uint64
	n := someSeeds
	if os.Getenv("VENEER_SOAK") == "1" {
		n = manySeeds
	}
	for seed := range n {
		seeds = append(seeds, uint64(seed))
	}
	one := os.Getenv("VENEER_SEED")
	if one != "" {
		seed, err := strconv.ParseUint(one, 10, 64)
		must(t, err)
		seeds = []uint64{seed}
	}
	failed := 0
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			k := compose(t, seed)
			if one != "" {
				t.Logf("%s", k.dockerfile)
			}
			want, problems := p.compare(t, k, seed%4 == 0)
			if want.err != nil {
				failed++
				t.Logf("BuildKit: %v", want.err)
			}
			if len(problems) > maxShown {
				problems = append(problems[:maxShown], "...")
			}
			if len(problems) > 0 {
				t.Errorf("%s\n%s", k.dockerfile, strings.Join(problems, "\n"))
			}
		})
	}
	// Dockerfiles that cannot be built say little.
	if one == "" && failed > len(seeds)/2 {
		t.Errorf("%d of %d fail with BuildKit", failed, len(seeds))
	}
}
