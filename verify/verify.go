package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/veneer-build/veneer/internal/progress"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
)

// Request says what to verify. Image is required.
type Request struct {
	// Image is a name or a digest, as [content.Lookup] takes it. All platforms that
	// it stands for are verified.
	Image string
	// Platform chooses one platform's image; empty: all that are stored.
	Platform string
	// Repair sets missing labels, unpacks a snapshot again if its files are not
	// those of its layers, and removes damaged layer blobs so that a pull fetches
	// them again.
	Repair bool
	// Progress is told of each step; nil: nobody is.
	Progress progress.Progress
	// Log is for details; nil discards.
	Log *slog.Logger
}

// Severity says what a finding means.
type Severity string

// The severities.
const (
	// SeverityError: something is wrong.
	SeverityError Severity = "error"
	// SeverityWarning: something is odd, but does no harm by itself.
	SeverityWarning Severity = "warning"
	// SeverityNote: something could not be checked. The message says why.
	SeverityNote Severity = "note"
)

// Check says what a finding is about.
type Check string

// The checks.
const (
	CheckBlob      Check = "blob"       // bytes against digest and size
	CheckManifest  Check = "manifest"   // indexes, manifests and configs: their form
	CheckMediaType Check = "media type" // against the bytes
	CheckDiffID    Check = "diff ID"
	CheckHistory   Check = "history"
	CheckLabel     Check = "label" // what garbage collection goes by
	CheckSnapshot  Check = "snapshot"
	CheckFiles     Check = "files" // of the snapshot, against the layers
	CheckRepair    Check = "repair"
)

// Finding is one thing that was found.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    Check    `json:"check"`
	Platform string   `json:"platform,omitempty"`
	// Object is the digest of the blob, or the chain ID of the snapshot.
	Object digest.Digest `json:"object,omitempty"`
	// Path is absolute in the image; of files only.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	// Repaired: this was wrong, and was repaired.
	Repaired bool `json:"repaired,omitempty"`
	// Cause is what a caller may act upon, a [fault.Error] of one of the kinds of
	// this package; else nil.
	Cause error `json:"-"`
}

// Result tells what was verified, and what was found.
type Result struct {
	Image     string             `json:"image"`
	Target    ocispec.Descriptor `json:"target"`
	Platforms []Platform         `json:"platforms"`
	Findings  []Finding          `json:"findings"`
	// Errors and Warnings count findings that were not repaired.
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Repaired int `json:"repaired"`
	// Blobs and Bytes count what was read of the image. Of a blob that is not there or
	// cut off, just the bytes that came count.
	Blobs   int64   `json:"blobs"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Platform is one platform's image.
type Platform struct {
	Platform string        `json:"platform"`
	Manifest digest.Digest `json:"manifest"`
	Layers   int           `json:"layers"`
	ChainID  digest.Digest `json:"chain_id,omitempty"`
	// Compared reports that the snapshot was compared with the layers.
	Compared bool `json:"compared"`
	// Files counts the files in the snapshot, directories included.
	Files int64 `json:"files,omitempty"`
}

// Image derives again what is derived when an image is made: digests and sizes of
// all blobs, media types, diff IDs, chain IDs, and the snapshot's files. It also
// checks the history, and the labels that garbage collection goes by. What is
// wrong is in the result. An error means that the image could not be verified.
// Without Repair nothing is changed.
//
// It reads every blob once, as a stream, and every file of the snapshot.
func Image(ctx context.Context, e *engine.Engine, req Request) (_ *Result, err error) {
	v := &verifier{Request: req, engine: e, steps: progress.New(req.Progress)}
	ctx, release, err := lease.New(e.Context(ctx), e.Client.LeasesService())
	if err != nil {
		return nil, err
	}
	defer func() {
		var opts []leases.DeleteOpt
		if v.removed {
			// The next pull would take a blob that is still there for a good one.
			opts = append(opts, leases.SynchronousDelete)
		}
		err = errors.Join(err, release(ctx, opts...))
	}()
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verify %s: %w", req.Image, err)
	}
	return v.finish(), nil
}

// verifier is one run of [Image] or [Outside].
type verifier struct {
	Request
	engine *engine.Engine
	steps  *progress.Steps
	// outside is the image if it is none of the engine's, which has no labels and no
	// snapshot of it then. Else it is nil.
	outside *Found

	docs []content.Document
	// removed: a damaged blob was removed.
	removed bool

	mu  sync.Mutex // of result
	res Result
}

func (v *verifier) run(ctx context.Context) error {
	v.steps.Start("resolve")
	if v.outside != nil {
		v.res.Image, v.res.Target = v.outside.Name, v.outside.Target
	} else {
		record, err := content.Lookup(ctx, v.engine.Client, v.Image)
		if err != nil {
			return err
		}
		v.res.Image, v.res.Target = record.Name, record.Target
	}
	var err error
	if v.docs, err = v.documents(ctx, v.res.Target); err != nil {
		return err
	}
	if v.outside == nil {
		if err := v.hold(ctx); err != nil {
			return err
		}
	}
	for i := range v.docs {
		if err := v.document(ctx, &v.docs[i]); err != nil {
			return err
		}
	}
	return nil
}

// documents returns the image's indexes and manifests. If one platform is asked
// for, it leaves out the other platforms' manifests.
func (v *verifier) documents(ctx context.Context, target ocispec.Descriptor) ([]content.Document, error) {
	store := v.engine.Client.ContentStore()
	docs, err := content.Documents(ctx, store, target)
	if err != nil || v.Platform == "" && (v.outside == nil || !v.outside.One) {
		return docs, err
	}
	img, err := content.ResolveTarget(ctx, store, target, v.Platform)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(docs, func(d content.Document) bool {
		return !d.IsIndex() && d.Desc.Digest != img.Manifest.Digest
	}), nil
}

// hold adds all documents and blobs to the lease. Garbage collection would remove
// those that lack a label, before they are verified.
func (v *verifier) hold(ctx context.Context) error {
	for _, doc := range v.docs {
		blobs := []ocispec.Descriptor{doc.Desc}
		for _, c := range doc.Children {
			blobs = append(blobs, c.Desc)
		}
		for _, b := range blobs {
			err := lease.AddBlob(ctx, v.engine.Client.LeasesService(), b.Digest)
			if err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("hold %s: %w", b.Digest, err)
			}
		}
	}
	return nil
}

// add records a finding and returns its number.
func (v *verifier) add(f Finding) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Findings = append(v.res.Findings, f)
	return len(v.res.Findings) - 1
}

// repaired marks a finding as repaired.
func (v *verifier) repaired(i int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Findings[i].Repaired = true
}

// read counts what was read: how many blobs, or that many more bytes of one.
func (v *verifier) read(blobs, bytes int64) {
	v.mu.Lock()
	v.res.Blobs += blobs
	v.res.Bytes += bytes
	v.mu.Unlock()
	v.steps.Count(blobs, bytes)
}

func (v *verifier) finish() *Result {
	r := &v.res
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	for _, f := range r.Findings {
		switch {
		case f.Repaired:
			r.Repaired++
		case f.Severity == SeverityError:
			r.Errors++
		case f.Severity == SeverityWarning:
			r.Warnings++
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Platform, b.Platform), cmp.Compare(rank(a.Check), rank(b.Check)), cmp.Compare(a.Path, b.Path))
	})
	_, r.Seconds = v.steps.End()
	return r
}

// rank is a check's place in the order of findings. Earlier ones are often the
// cause of later ones.
func rank(c Check) int {
	return slices.Index([]Check{
		CheckManifest, CheckBlob, CheckMediaType, CheckDiffID, CheckHistory, CheckLabel, CheckSnapshot, CheckFiles, CheckRepair,
	}, c)
}
