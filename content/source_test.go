package content_test

import (
	"maps"
	"testing"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// TestNameSources: which names label a blob, and with what; what a registry is known to have is left alone.
func TestNameSources(t *testing.T) {
	const source, named = "containerd.io/distribution.source.", "veneer.build/named."
	for name, want := range map[string]map[string]string{
		"docker.io/library/app:1":  {},
		"docker.io/team/app:1":     {source + "docker.io": "team/app", named + "docker.io": "team/app"},
		"reg.example.org:5000/a:1": {source + "reg.example.org": "a", named + "reg.example.org": "a"},
		"localhost/a/b/c:1":        {source + "localhost": "a/b/c", named + "localhost": "a/b/c"},
		"no name at all":           {},
	} {
		ctx, s := storetest.Open(t)
		img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
		s.Put(ctx, t, img.Blobs()...)
		store := s.ContentStore()
		known := map[string]string{source + "other.example.org": "base"}
		if err := content.SetLabels(ctx, store, img.Config.Digest, known); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := content.NameSources(ctx, s.ContentStore(), name, img.Manifest.Descriptor); err != nil {
				t.Fatal(err)
			}
		}
		labels := func(of storetest.Blob) map[string]string {
			info, err := store.Info(ctx, of.Digest)
			if err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(info.Labels, func(k, _ string) bool { return len(k) > 17 && k[:17] == "containerd.io/gc." })
			return info.Labels
		}
		if got := labels(img.Layers[0]); !maps.Equal(got, want) {
			t.Errorf("%s: the layer has %q, want %q", name, got, want)
		}
		if got := labels(img.Config); !maps.Equal(got, known) {
			t.Errorf("%s: the config has %q", name, got)
		}
		if len(want) == 0 {
			continue
		}
		if got := content.KnownSources(labels(img.Layers[0])); len(got) > 0 {
			t.Errorf("%s: known to be at %q", name, got)
		}
		if err := content.Pushed(ctx, store, name, img.Layers[0].Digest); err != nil {
			t.Fatal(err)
		}
		if got := labels(img.Layers[0]); len(got) != 1 || !maps.Equal(content.KnownSources(got), got) {
			t.Errorf("%s: after a push %q", name, got)
		}
	}
}
