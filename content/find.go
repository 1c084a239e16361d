package content

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// found is an image record and the descriptor in it that was asked for: the
// record's target, or a manifest below it.
type found struct {
	record images.Image
	target ocispec.Descriptor
}

// Lookup returns the record that [Resolve] would use.
func Lookup(ctx context.Context, in Finder, ref string) (images.Image, error) {
	f, err := find(ctx, in, ref)
	return f.record, err
}

// find looks an image up in the order that [Resolve] documents.
func find(ctx context.Context, in Finder, input string) (found, error) {
	ref, err := ParseRef(input)
	if err != nil {
		return found{}, err
	}
	is := in.ImageService()
	for _, name := range slices.Compact([]string{ref.Name, input}) {
		if name == "" {
			continue
		}
		img, err := is.Get(ctx, name)
		switch {
		case err == nil && rank(img) == 0:
			return found{record: img, target: img.Target}, nil
		case err != nil && !errdefs.IsNotFound(err):
			return found{}, fmt.Errorf("look up image %s: %w", name, err)
		}
	}
	all, err := is.List(ctx)
	if err != nil {
		return found{}, fmt.Errorf("list images: %w", err)
	}
	if ref.Digest != "" || ref.IDPrefix != "" {
		f, err := findByID(ctx, in.ContentStore(), all, ref)
		if err == nil || !errdefs.IsNotFound(err) {
			return f, err
		}
	}
	return found{}, notFound(ctx, in, ref, all)
}

// findByID finds the image whose target, manifest or config has the digest.
// Several names of one image are no ambiguity; the first in order stands for them.
func findByID(ctx context.Context, store cstore.Store, all []images.Image, ref Ref) (found, error) {
	repo := ref.Repository()
	hits := map[digest.Digest]found{}
	for _, img := range all {
		if repo != "" && ref.Digest != "" && repositoryOf(img.Name) != repo {
			continue
		}
		target, ok, err := matchID(ctx, store, img.Target, ref)
		if err != nil {
			return found{}, fmt.Errorf("look for %s in %s: %w", ref.Input, img.Name, err)
		}
		// A name that was given goes before the image's alias.
		if was, seen := hits[target.Digest]; ok && (!seen || rank(img) < rank(was.record)) {
			hits[target.Digest] = found{record: img, target: target}
		}
	}
	switch len(hits) {
	case 0:
		return found{}, errdefs.ErrNotFound
	case 1:
		for _, f := range hits {
			return f, nil
		}
	}
	var ids []string
	for d, f := range hits {
		ids = append(ids, fmt.Sprintf("%s (%s)", d, f.record.Name))
	}
	slices.Sort(ids)
	return found{}, fmt.Errorf("image ID %s is ambiguous: %s: %w", ref.Input, strings.Join(ids, ", "), errdefs.ErrFailedPrecondition)
}

// matchID compares the target's digest and those of the manifests and configs
// below it. Documents that are not stored or damaged do not match: another
// image may be the one that is meant.
func matchID(ctx context.Context, store cstore.Store, target ocispec.Descriptor, ref Ref) (ocispec.Descriptor, bool, error) {
	if ref.matches(target.Digest) {
		return target, true, nil
	}
	manifests := []ocispec.Descriptor{target}
	if images.IsIndexType(target.MediaType) {
		var err error
		if manifests, err = Manifests(ctx, store, target); err != nil {
			return ocispec.Descriptor{}, false, ctx.Err()
		}
	}
	for _, d := range manifests {
		if ref.matches(d.Digest) {
			return d, true, nil
		}
		if !images.IsManifestType(d.MediaType) {
			continue
		}
		data, err := readJSON(ctx, store, d)
		if err != nil {
			if ctx.Err() != nil {
				return ocispec.Descriptor{}, false, ctx.Err()
			}
			continue
		}
		if m, err := parseManifest(data, d); err == nil && ref.matches(m.Config.Digest) {
			return d, true, nil
		}
	}
	return ocispec.Descriptor{}, false, nil
}

func (r Ref) matches(d digest.Digest) bool {
	if r.Digest != "" {
		return d == r.Digest
	}
	return strings.HasPrefix(string(d), "sha256:"+r.IDPrefix)
}

// notFound says what was looked for, and where it is instead.
func notFound(ctx context.Context, in Finder, ref Ref, all []images.Image) error {
	kind := ErrNoImage
	var b strings.Builder
	fmt.Fprintf(&b, "no image %q", ref.Input)
	ns, _ := namespaces.Namespace(ctx)
	if ns != "" {
		fmt.Fprintf(&b, " in namespace %q", ns)
	}
	if ref.Name != "" && ref.Name != ref.Input {
		fmt.Fprintf(&b, " (looked for %s)", ref.Name)
	}
	if names := similar(ref, all); len(names) > 0 {
		fmt.Fprintf(&b, "; there is %s", strings.Join(names, ", "))
	}
	if other := otherNamespaces(ctx, in, ref, ns); len(other) > 0 {
		fmt.Fprintf(&b, "; it is in namespace %s", strings.Join(other, ", "))
		kind = ErrOtherNamespace
	}
	err := &fault.Error{Kind: kind, Err: fmt.Errorf("%s: %w", b.String(), errdefs.ErrNotFound)}
	if ref.Name != "" {
		err.Ref = ref.Input
	}
	return err
}

// maxHints bounds what an error message lists.
const maxHints = 5

// similar returns stored names with the same last path element, tag aside,
// or with one that contains the other.
func similar(ref Ref, all []images.Image) []string {
	want := path.Base(ref.Repository())
	if ref.Name == "" || want == "." {
		return nil
	}
	var same, near []string
	for _, img := range all {
		have := path.Base(repositoryOf(img.Name))
		switch {
		case have == ".":
		case have == want:
			same = append(same, img.Name)
		case strings.Contains(have, want), strings.Contains(want, have):
			near = append(near, img.Name)
		}
	}
	names := append(same, near...)
	return names[:min(len(names), maxHints)]
}

// otherNamespaces returns the engine's namespaces that have the name. It only
// serves a hint, so what it cannot find out is left out.
func otherNamespaces(ctx context.Context, in Finder, ref Ref, current string) []string {
	if ref.Name == "" {
		return nil
	}
	all, err := in.NamespaceService().List(ctx)
	if err != nil {
		return nil
	}
	var with []string
	for _, ns := range all {
		if ns == current {
			continue
		}
		if _, err := in.ImageService().Get(namespaces.WithNamespace(ctx, ns), ref.Name); err == nil {
			with = append(with, fmt.Sprintf("%q", ns))
		}
	}
	return with[:min(len(with), maxHints)]
}
