package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/fault"
)

// PushArtifact sends an artifact about another manifest, its subject, into the
// repository of the name, and sees to it that [Referrers] of the subject lists it
// (OCI distribution-spec, "Pushing Manifests with Subject"). It gets no tag. What the
// registry has is not sent, so pushing an artifact again repairs a list that has lost
// it. It returns the entry that the list has.
//
// Everything that the artifact's manifest names must be in the store or in the
// repository. All of it is sent as blobs, also what has the type of a manifest: an
// artifact may have one as a layer. The caller's lease keeps it. The subject need not
// be in the registry, but some registries want it to be if a layer is its manifest.
//
// Where the registry has no API for referrers, the list is kept under a tag, see
// changeTag. If that fails, the artifact is in the registry, and nobody finds it.
func PushArtifact(ctx context.Context, store cstore.Provider, ref string, manifest ocispec.Descriptor, opts Options) (ocispec.Descriptor, error) {
	r, err := openRepository(ctx, ref, opts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	a, err := readArtifact(ctx, store, manifest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push artifact to %s: %w", r.name, err)
	}
	a.repo = r
	err = a.push(ctx)
	switch {
	case errdefs.IsNotFound(err) && statusOf(err) == 0:
		return ocispec.Descriptor{}, &fault.Error{Kind: ErrLacks, Ref: r.name, Err: fmt.Errorf("push artifact to %s: the registry lacks content that this engine does not have either: %w", r.name, redact(err))}
	case err != nil:
		return ocispec.Descriptor{}, explain("push artifact to", r.name, err)
	}
	if err := a.list(ctx); err != nil {
		return ocispec.Descriptor{}, explain(fmt.Sprintf("list the pushed artifact %s in", manifest.Digest), r.name, err)
	}
	return a.entry, nil
}

// artifact is an artifact that is pushed.
type artifact struct {
	repo    *repository
	store   cstore.Provider
	entry   ocispec.Descriptor // its manifest, as a list of referrers has it
	data    []byte             // the manifest
	subject digest.Digest
	blobs   []ocispec.Descriptor
	// processed: the registry says that it has seen the subject, so it has the API.
	processed bool
}

func readArtifact(ctx context.Context, store cstore.Provider, manifest ocispec.Descriptor) (_ *artifact, retErr error) {
	m, err := content.ReadArtifact(ctx, store, manifest)
	if err != nil {
		return nil, err
	}
	if m.Subject == nil {
		return nil, fmt.Errorf("artifact %s has no subject: %w", manifest.Digest, errdefs.ErrInvalidArgument)
	}
	a := &artifact{store: store, subject: m.Subject.Digest, entry: ocispec.Descriptor{
		MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}}
	if a.entry.ArtifactType == "" {
		a.entry.ArtifactType = m.Config.MediaType
	}
	seen := map[digest.Digest]bool{}
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		// Containerd's client sends by the type, and knows this one as a blob's.
		a.blobs = append(a.blobs, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: b.Digest, Size: b.Size})
	}
	rc, err := content.ReadBlob(ctx, store, manifest) // whose size was checked
	if err != nil {
		return nil, err
	}
	defer func() { retErr = errors.Join(retErr, rc.Close()) }()
	a.data, err = io.ReadAll(rc)
	return a, err
}

// push sends the blobs, and then the manifest.
func (a *artifact) push(ctx context.Context) error {
	for _, b := range a.blobs {
		a.repo.opts.Progress.tell(Event{Blob: b, Planned: true})
	}
	var there tally
	tries := a.repo.pushes()
	tries.progress, tries.step = there.count, 1
	forgotten := 0
	return tries.do(ctx, func(ctx context.Context) error {
		err := a.pushOnce(ctx, &there)
		if forgotten++; forgotten <= maxForgotten && forgot(err) {
			attemptOf(ctx).passes()
		}
		return err
	})
}

func (a *artifact) pushOnce(ctx context.Context, there *tally) error {
	resolver, err := Resolver(ctx, a.repo.opts)
	if err != nil {
		return err
	}
	to, err := resolver.Pusher(ctx, a.repo.spec.Locator+"@"+a.entry.Digest.String())
	if err != nil {
		return err
	}
	send := remotes.PushHandler(pusher{to, a.repo.opts.Progress, there}, a.store)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxUploads)
	for _, b := range a.blobs {
		group.Go(func() error {
			_, err := send(groupCtx, b)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	h, err := a.repo.writable()
	if err != nil {
		return err
	}
	// It is sent even if the registry has it: the answer tells whether it has the API.
	resp, err := a.repo.ask(ctx, h, query{
		method: http.MethodPut, what: []string{"manifests", a.entry.Digest.String()},
		header: http.Header{"Content-Type": {a.entry.MediaType}}, body: a.data,
	})
	if err != nil {
		return err
	}
	a.processed = digest.Digest(resp.Header.Get("OCI-Subject")) == a.subject
	return resp.stored(a.entry.Digest)
}

// list sees to it that the artifact is in the list of its subject's referrers.
func (a *artifact) list(ctx context.Context) error {
	if a.processed {
		return nil
	}
	h, err := a.repo.writable()
	if err != nil {
		return err
	}
	// A proxy may have left out the header. Any other list is not of this artifact,
	// and so is a failure: then the tag is what counts.
	listed := false
	_ = a.repo.pushes().do(ctx, func(ctx context.Context) error {
		list, there, err := a.repo.pages(ctx, h, a.subject, a.entry.ArtifactType)
		listed = there && slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == a.entry.Digest })
		return err
	})
	if listed {
		return nil
	}
	return a.repo.changeTag(ctx, h, a.subject, func(l *referrers) (bool, error) { return l.add(a.entry) })
}
