package recompress

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Generation names a compressor with all that its output depends on: a family, a
// number, and the level.
type Generation string

// None is the generation of blobs that are not compressed.
const None Generation = "none"

// The families. Their numbers count the versions that gave other bytes.
const (
	veneerGzip = "veneer-gzip.1" // as pgzip 1.3.0 on klauspost/compress 1.20.3, blocks of veneerBlock
	veneerZstd = "veneer-zstd.1" // klauspost/compress 1.20.3
	goGzip     = "go-gzip.1"     // Go's compress/gzip up to 1.26, see package goflate: BuildKit, docker, ko, crane
	pgzipGzip  = "pgzip-1m.1"    // as veneerGzip with pgzip's own blocks: buildah, skopeo
	kGzip      = "klauspost.1"   // klauspost/compress 1.20.3, one stream
)

const (
	// veneerBlock is the number of bytes that one processor compresses at a time. The
	// output depends on it, and does not depend on the number of processors. Blocks
	// four times as large save 0.04 % of the output and cost 10 MB of memory.
	veneerBlock = 256 << 10
	// pgzipBlock is the same as pgzip has it.
	pgzipBlock = 1 << 20
)

// Current is the generation of new layers: of "gzip", "zstd" or "none", at a level
// of which 0 is the default.
func Current(compression string, level int) (Generation, error) {
	switch compression {
	case "gzip":
		return of(veneerGzip, level), nil
	case "zstd":
		return of(veneerZstd, level), nil
	case "none":
		return None, nil
	}
	return "", fmt.Errorf("compression %q: must be gzip, zstd or none", compression)
}

func of(family string, level int) Generation {
	return Generation(family + ":" + strconv.Itoa(level))
}

// NewWriter returns a compressor of the generation that writes to w. Its output
// depends on the input alone. Close ends the compressed stream, and does not close w.
// An unknown generation is an error: that of a newer Veneer, or of a stranger.
func (g Generation) NewWriter(w io.Writer) (io.WriteCloser, error) {
	if g == None {
		return nopCloser{w}, nil
	}
	family, level, ok := g.split()
	if !ok {
		return nil, fmt.Errorf("compress again: this version knows no way %q", string(g))
	}
	z, err := newWriter(family, level, w)
	if err != nil {
		return nil, fmt.Errorf("compress with %s: %w", g, err)
	}
	return z, nil
}

// Known reports whether this version has the generation.
func (g Generation) Known() bool {
	_, _, ok := g.split()
	return ok || g == None
}

func (g Generation) split() (family string, level int, ok bool) {
	family, text, _ := strings.Cut(string(g), ":")
	level, err := strconv.Atoi(text)
	return family, level, err == nil && strconv.Itoa(level) == text && levels(family, level)
}

// levels reports whether a family has a level.
func levels(family string, level int) bool {
	switch family {
	case veneerGzip, goGzip, pgzipGzip, kGzip:
		return level >= 0 && level <= 9
	case veneerZstd:
		return level >= 0 && level <= 22
	}
	return false
}

func newWriter(family string, level int, w io.Writer) (io.WriteCloser, error) {
	if family == veneerZstd {
		speed := zstd.SpeedDefault
		if level != 0 {
			speed = zstd.EncoderLevelFromZstd(level)
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(2))
	}
	if level == 0 {
		level = kgzip.DefaultCompression
	}
	switch family {
	case goGzip:
		return newGoGzip(w, level)
	case kGzip:
		return kgzip.NewWriterLevel(w, level)
	}
	block := veneerBlock
	if family == pgzipGzip {
		block = pgzipBlock
	}
	return newBlockGzip(w, level, block, runtime.GOMAXPROCS(0)), nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
