package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/internal/reopen"
)

// builtSteps is what report takes from a file of build --metadata-file.
type builtSteps struct {
	file   string
	Digest digest.Digest           `json:"containerimage.digest"`
	Steps  []veneer.DockerfileStep `json:"veneer.steps"`
	Veneer struct {
		Manifests []struct {
			Digest digest.Digest `json:"digest"`
		} `json:"manifests"`
	} `json:"veneer"`
}

const (
	// maxBuilt bounds the file. Most of it are the steps, which take some 200 bytes each
	// and their names; of the shortest ones that can be, it has a million.
	maxBuilt = 4 << 20
	// maxSeconds bounds times: some thirty years. Sums and pictures of them stay exact.
	maxSeconds = 1e9
	// maxBlob bounds sizes, so that the sum of all that one file can have is none too
	// many.
	maxBlob = 1 << 44
)

// readBuilt reads the steps from a file, which can be anybody's.
func readBuilt(ctx context.Context, name string) (*builtSteps, error) {
	f, err := reopen.Read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read steps of the build: %w", err)
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxBuilt+1))
	if err == nil && len(data) > maxBuilt {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxBuilt)
	}
	if err != nil {
		return nil, fmt.Errorf("read steps of the build: %w", err)
	}
	b, err := parseBuilt(data)
	if err != nil {
		return nil, fmt.Errorf("read steps of the build from %s: %w", name, err)
	}
	b.file = name
	return b, nil
}

func parseBuilt(data []byte) (*builtSteps, error) {
	b := &builtSteps{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("it is no file of veneer build --metadata-file: %w", err)
	}
	if b.Digest.Validate() != nil {
		return nil, errors.New("it is no file of veneer build --metadata-file: it has no digest of an image")
	}
	if len(b.Steps) == 0 {
		return nil, errors.New("it has no steps: veneer build writes them for a Dockerfile, and not for --from; other programs do not write them")
	}
	for i, s := range b.Steps {
		within := func(t float64) bool { return t >= 0 && t <= maxSeconds }
		switch {
		case s.Name == "":
			return nil, fmt.Errorf("step %d has no name", i+1)
		case !within(s.Started) || !within(s.Seconds):
			return nil, fmt.Errorf("step %d has no possible time: began after %g s, took %g s", i+1, s.Started, s.Seconds)
		case s.Bytes < 0 || s.Bytes > maxBlob || s.Layer != "" && s.Layer.Validate() != nil:
			return nil, fmt.Errorf("step %d has no possible layer: %q of %d bytes", i+1, s.Layer, s.Bytes)
		}
	}
	return b, nil
}

// check warns if the file is of another image.
func (b *builtSteps) check(img *veneer.Image) []veneer.Notice {
	made := map[digest.Digest]bool{b.Digest: true}
	for _, m := range b.Veneer.Manifests {
		made[m.Digest] = true
	}
	if made[img.Manifest.Digest] || made[img.Record.Target.Digest] {
		return nil
	}
	return []veneer.Notice{{Text: fmt.Sprintf("%s is of another build: it made %s, and %s is %s; the steps need not be those of this image", b.file, b.Digest, img.Name, img.Manifest.Digest)}}
}
