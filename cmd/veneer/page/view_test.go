package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/anatomy"
)

func configOf(text string) *veneer.Dissected {
	return &veneer.Dissected{Image: &veneer.Image{ConfigJSON: []byte(text)}}
}

// rowsText is a line for each field; a marked one begins with !.
func rowsText(t *testing.T, now, old string) string {
	t.Helper()
	var before *veneer.Dissected
	if old != "" {
		before = configOf(old)
	}
	rows, err := configRows(configOf(now), before)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range rows {
		if r.Differs {
			b.WriteByte('!')
		}
		fmt.Fprintf(&b, "%s=%q%v,%q%v\n", r.Key, r.Old, r.NoOld, r.New, r.NoNew)
	}
	return b.String()
}

// TestConfigPresence: a field that is missing is not an empty one, nor are null and "" the same.
func TestConfigPresence(t *testing.T) {
	for name, c := range map[string][3]string{
		"empty":   {`{"author":""}`, `{}`, "!author=\"\"true,\"\"false\n"},
		"null":    {`{"author":null}`, `{"author":""}`, "!author=\"\"false,\"null\"false\n"},
		"text":    {`{"a":"[]"}`, `{"a":[]}`, "!a=\"[]\"false,\"[]\"false\n"},
		"object":  {`{"config":{"Labels":{}}}`, `{"config":{"Labels":{}}}`, "config.Labels=\"{}\"false,\"{}\"false\n"},
		"same":    {`{"config":{"User":"u"}}`, `{"config":{"User":"u"}}`, "config.User=\"u\"false,\"u\"false\n"},
		"without": {`{"config":{"Env":["A"]}}`, `{"config":{"Env":["A="]}}`, "!config.Env.A=\"\"false,\"no value, and no =\"false\n"},
		"members": {`{"config":{"User":"u","Env":["A=1"]}}`, `{"config":{}}`, "!config.Env.A=\"\"true,\"1\"false\n!config.User=\"\"true,\"u\"false\n"},
		"gone":    {`{"config":{"Env":[]}}`, `{"config":{"Env":["A=1"]}}`, "!config.Env.A=\"1\"false,\"\"true\n"},
		"dropped": {`{}`, `{"config":{"Env":["A="]}}`, "!config.Env.A=\"\"false,\"\"true\n"},
	} {
		if got := rowsText(t, c[0], c[1]); got != c[2] {
			t.Errorf("%s: %q, want %q", name, got, c[2])
		}
	}
}

// TestConfigNames: names that look alike are fields of their own, in the same order each time.
func TestConfigNames(t *testing.T) {
	const config = `{"config":{"Labels":{"c":"2","x.y":"4"},"Labels.c":"3","Env":["A=1","B=2","A=3"]}}`
	want := "config.\"Labels.c\"=\"\"true,\"3\"false\n" +
		"config.Env.A=\"\"true,\"1\"false\nconfig.Env.A (2)=\"\"true,\"3\"false\nconfig.Env.B=\"\"true,\"2\"false\n" +
		"config.Labels.c=\"\"true,\"2\"false\nconfig.Labels.x.y=\"\"true,\"4\"false\n"
	for range 50 {
		if got := rowsText(t, config, ""); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestSharers: the list of images that share a layer is cut, and says so.
func TestSharers(t *testing.T) {
	d := &veneer.Dissection{New: veneer.Dissected{Image: &veneer.Image{}, Parts: &veneer.Anatomy{Layers: make([]veneer.AnatomyLayer, 1)}}}
	desc := ocispec.Descriptor{Digest: digest.FromString("layer")}
	d.New.Parts.Layers[0].Desc = desc
	for i := range 8 {
		d.New.Sharers = map[digest.Digest][]string{desc.Digest: append(d.New.Sharers[desc.Digest], fmt.Sprint("image", i))}
	}
	v := &view{}
	v.layers(d)
	if got := v.Layers[0]; len(got.Sharers) != sharersNamed || got.MoreSharers != 2 {
		t.Errorf("%v and %d more", got.Sharers, got.MoreSharers)
	}
}

func TestWords(t *testing.T) {
	for layers, want := range map[int]string{0: "it has no lowest layers in common", 1: "its lowest layer is the same", 2: "its lowest 2 layers are the same"} {
		if got := keptText(layers); got != want {
			t.Errorf("%d: %q", layers, got)
		}
	}
	if directoriesText(1) != "1 directory" || directoriesText(2) != "2 directories" {
		t.Error(directoriesText(1), directoriesText(2))
	}
}

// TestInterrupted: a page that nobody waits for is not written.
func TestInterrupted(t *testing.T) {
	parts, err := anatomy.New(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	img := configOf(`{}`)
	img.Parts, img.Manifest.Digest = parts, digest.FromString("manifest")
	if err := Write(ctx, io.Discard, &veneer.Dissection{New: *img, Waste: &veneer.Waste{}}, nil, "test"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestChosen: the search is bounded in paths and in bytes, and takes directories and the largest files.
func TestChosen(t *testing.T) {
	for _, c := range []struct {
		most, text int
		least      int64
		of         int
	}{{9, 1000, 5, 2}, {3, 1000, 5, 1}, {9, 500, 5, 1}, {9, 300, 9, 1}, {9, 30, 1 << 62, 1}, {9, 3, math.MaxInt64, 0}} {
		paths := []searched{{5, 200}, {9, 200}, {1 << 62, 10}, {5, 200}}
		if least, of := chosen(paths, c.most, c.text); least != c.least || of != c.of {
			t.Errorf("%d paths, %d bytes: %d of size %d, want %d of %d", c.most, c.text, of, least, c.of, c.least)
		}
	}
}
