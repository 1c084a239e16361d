package content

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
)

// Labels of a blob that end in a registry's host and list repositories there,
// with commas.
const (
	// labelSource is containerd's: where a blob can be had. Peers serve what
	// has one, and pushes mount from there.
	labelSource = labels.LabelDistributionSource + "."
	// labelNamed is ours: those of labelSource that an image was named for,
	// without a push or a pull that would have put the blob there.
	labelNamed = lease.LabelPrefix + "named."
)

// source is a repository of a registry, as labels say it.
type source struct{ host, repository string }

// sourceOf is the repository that an image's name means. A name that was typed
// without a registry, such as "app", means none.
func sourceOf(name string) (source, bool) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return source{}, false
	}
	host, repository := reference.Domain(named), reference.Path(named)
	if host == "docker.io" && strings.HasPrefix(repository, "library/") {
		return source{}, false
	}
	// As containerd writes them, without a port.
	u, err := url.Parse("dummy://" + host)
	if err != nil {
		return source{}, false
	}
	return source{u.Hostname(), repository}, true
}

// NameSources labels an image's blobs as being of the repository that the name
// means, so that peers on other nodes serve them before there was a push. Only
// blobs that no registry is known to have are labelled: those that were built
// or loaded here. What is not stored is left out.
func NameSources(ctx context.Context, store cstore.Store, name string, target ocispec.Descriptor) error {
	src, ok := sourceOf(name)
	if !ok {
		return nil
	}
	docs, err := Documents(ctx, store, target)
	if err != nil {
		return err
	}
	blobs := []digest.Digest{target.Digest}
	for _, doc := range docs {
		for _, child := range doc.Children {
			blobs = append(blobs, child.Desc.Digest)
		}
	}
	slices.Sort(blobs)
	for _, blob := range slices.Compact(blobs) {
		if err := src.name(ctx, store, blob); err != nil {
			return fmt.Errorf("label blob %s as being of %s: %w", blob, name, err)
		}
	}
	return nil
}

// SourceLabels are the labels that [NameSources] will give a new blob for each of the
// names. Spegel asks for them once, within a second of the blob's creation.
func SourceLabels(names []string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		s, ok := sourceOf(name)
		if !ok || contains(all[labelSource+s.host], s.repository) {
			continue
		}
		list := join(append(split(all[labelSource+s.host]), s.repository))
		if fits(labelNamed+s.host, list) && fits(labelSource+s.host, list) {
			all[labelSource+s.host], all[labelNamed+s.host] = list, list
		}
	}
	return all
}

// name labels one blob.
func (s source) name(ctx context.Context, store cstore.Store, blob digest.Digest) error {
	info, err := store.Info(ctx, blob)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(KnownSources(info.Labels)) > 0 || contains(info.Labels[labelSource+s.host], s.repository) {
		return nil
	}
	add := map[string]string{}
	for _, key := range []string{labelSource + s.host, labelNamed + s.host} {
		add[key] = join(append(split(info.Labels[key]), s.repository))
		if !fits(key, add[key]) {
			return nil
		}
	}
	return SetLabels(ctx, store, blob, add)
}

// KnownSources returns those of a blob's labels that say where it can be had,
// without the repositories that it was only named for.
func KnownSources(all map[string]string) map[string]string {
	known := map[string]string{}
	for key, value := range all {
		host, ok := strings.CutPrefix(key, labelSource)
		if !ok {
			continue
		}
		named := split(all[labelNamed+host])
		list := slices.DeleteFunc(split(value), func(r string) bool { return slices.Contains(named, r) })
		if len(list) > 0 {
			known[key] = join(list)
		}
	}
	return known
}

// Pushed notes that a blob is in the repository that the name means, if it was
// only named for it so far.
func Pushed(ctx context.Context, store cstore.Store, name string, blob digest.Digest) error {
	src, ok := sourceOf(name)
	if !ok {
		return nil
	}
	info, err := store.Info(ctx, blob)
	if err != nil {
		return err
	}
	key := labelNamed + src.host
	if !contains(info.Labels[key], src.repository) {
		return nil
	}
	rest := slices.DeleteFunc(split(info.Labels[key]), func(r string) bool { return r == src.repository })
	// An empty value removes the label.
	return SetLabels(ctx, store, blob, map[string]string{key: join(rest)})
}

// MissingSources returns the labels of [KnownSources] for blobs that are not
// stored, which have no labels: those of a stored image's manifest that lists
// them, since that came from where they are.
func MissingSources(ctx context.Context, c Images, blobs []ocispec.Descriptor) (map[digest.Digest]map[string]string, error) {
	found := map[digest.Digest]map[string]string{}
	for _, b := range blobs {
		found[b.Digest] = map[string]string{}
	}
	if len(blobs) == 0 {
		return found, nil
	}
	records, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	store := c.ContentStore()
	for _, record := range records {
		docs, err := Documents(ctx, store, record.Target)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			continue // It is another image's fault, and no hindrance here.
		}
		for _, doc := range docs {
			if err := doc.addSources(ctx, store, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// addSources adds the document's sources to those of its children that are asked for.
func (d *Document) addSources(ctx context.Context, store cstore.Store, to map[digest.Digest]map[string]string) error {
	if d.IsIndex() || !slices.ContainsFunc(d.Children, func(c Child) bool { return to[c.Desc.Digest] != nil }) {
		return nil
	}
	info, err := store.Info(ctx, d.Desc.Digest)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read labels of manifest %s: %w", d.Desc.Digest, err)
	}
	for key, value := range KnownSources(info.Labels) {
		for _, c := range d.Children {
			if all := to[c.Desc.Digest]; all != nil {
				all[key] = join(append(split(all[key]), split(value)...))
			}
		}
	}
	return nil
}

// SourceHosts returns the registries that have all of the blobs, by what
// [MissingSources] says of them.
func SourceHosts(sources map[digest.Digest]map[string]string) []string {
	count := map[string]int{}
	for _, all := range sources {
		for key := range all {
			count[strings.TrimPrefix(key, labelSource)]++
		}
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n < len(sources) })
	return slices.Sorted(maps.Keys(count))
}

// split and join are the form of the labels, in which nothing stands twice.
func split(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func join(repositories []string) string {
	slices.Sort(repositories)
	return strings.Join(slices.Compact(repositories), ",")
}

// fits reports whether a store takes the label: it bounds names and values.
func fits(key, value string) bool { return labels.Validate(key, value) == nil }

func contains(value, repository string) bool { return slices.Contains(split(value), repository) }
