// Package differential builds Dockerfiles with BuildKit and with Veneer, and compares the images: their files, their
// configs, their histories, and what was warned of. Nothing but tests is in it.
//
// TestCorpus takes the Dockerfiles below testdata/corpus, which have the shapes of public ones; TestRandom those of a
// generator, which are built once more upon another image (--onto): the files are the same, and there is one layer more at
// most. What differs by decision is named in docs/dockerfile.md, and in compare_test.go.
//
//	VENEER_SOAK=1        hundreds of random Dockerfiles in place of some
//	VENEER_SEED=N        that random Dockerfile alone, and its files are shown
package differential
