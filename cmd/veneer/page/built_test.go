package page

import (
	"fmt"
	stdtemplate "html/template"
	"regexp"
	"strings"
	"testing"

	template "github.com/DataDog/datadog-agent/pkg/template/html"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
)

// withSteps is the page of an image that has two layers, without what is not its steps.
func withSteps(t *testing.T, steps []veneer.DockerfileStep) string {
	t.Helper()
	v := &view{}
	for i := range 2 {
		l := veneer.AnatomyLayer{Desc: ocispec.Descriptor{Digest: layerDigest(i)}}
		v.Layers = append(v.Layers, layerRow{AnatomyLayer: l, Number: i + 1})
	}
	v.built(steps)
	page, err := template.New("page").Funcs(funcs).Parse(pageHTML)
	if err != nil {
		t.Fatal(err)
	}
	var b, same strings.Builder
	if err := page.Execute(&b, v); err != nil {
		t.Fatal(err)
	}
	standard, err := stdtemplate.New("page").Funcs(funcs).Parse(pageHTML)
	if err != nil {
		t.Fatal(err)
	}
	if err := standard.Execute(&same, v); err != nil || b.String() != same.String() {
		t.Errorf("html/template makes another page: %v", err)
	}
	return b.String()
}

func layerDigest(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }

// TestSteps: a row for each step, whose layer is found by its digest.
func TestSteps(t *testing.T) {
	text := withSteps(t, []veneer.DockerfileStep{
		{Name: "[1/3] FROM base", Line: 1, Started: 0, Seconds: 2, Platforms: []string{"linux/amd64", "linux/arm64"}},
		{Name: "[2/3] COPY . /app", Line: 3, Started: 2, Seconds: 0, Cached: true, Layer: layerDigest(1), Bytes: 1234567},
		{Name: "[3/3] RUN make", Started: 2, Seconds: 98, Layer: layerDigest(7), Bytes: 12},
	})
	for _, want := range []string{
		`<a href="#build">`, "<dt>Time</dt><dd><b>1 min 40 s</b>", "<dt>Steps</dt><dd><b>3</b>", "<dt>Cached</dt><dd><b>1</b>", "<dt>Stored</dt><dd><b>1.2 MB</b><span>in 2 layers",
		"<bdi>[1/3] FROM base</bdi>", "<bdi>line 1, linux/amd64, linux/arm64</bdi>", `aria-label="2.0 s, from 0.0 s on"`, `<rect class="stored" x="0" width="20"`,
		`<rect class="unpacked" x="20" width="3"`, `<span class="tag">cached</span>`, `1.2 MB<span class="sub"><a href="#layer-2">layer 2</a>`,
		`<rect class="stored" x="20" width="980"`, `<td class="n">1 min 38 s</td>`, `<td class="n">12 B</td>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if text := withSteps(t, nil); strings.Contains(text, "#build") || strings.Contains(text, "How it was built") {
		t.Error("without steps there is a section for them")
	}
}

// TestStepsOfAStranger: neither a name nor a number gets out of its place, and the table
// is bounded.
func TestStepsOfAStranger(t *testing.T) {
	hostile := []string{
		"</code></table><script>window.hacked=1</script>", `"><img src=x onerror=window.hacked=1>`, "a\x1b[31m\nb\u202e", "{{.CSS}}", "bad\xff",
	}
	var steps []veneer.DockerfileStep
	for _, name := range hostile {
		steps = append(steps, veneer.DockerfileStep{Name: name, Platforms: []string{name}, Layer: digest.Digest(name), Line: -1, Started: 1e9, Seconds: 1e9, Bytes: 1 << 44})
	}
	plain := regexp.MustCompile(`<[a-z/!][^>]*>`)
	want := strings.Join(plain.FindAllString(withSteps(t, renamed(steps)), -1), "\n")
	text := withSteps(t, steps)
	if got := strings.Join(plain.FindAllString(text, -1), "\n"); got != want {
		t.Errorf("elements:\n%s\nwant\n%s", got, want)
	}
	for _, want := range []string{`a\x1b[31m\nb\u202e`, `bad\xff`, "{{.CSS}}"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, wide := range regexp.MustCompile(`x="(\d+)" width="(\d+)" height="10"`).FindAllStringSubmatch(text, -1) {
		var x, width int
		if _, err := fmt.Sscan(wide[1], &x); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(wide[2], &width); err != nil || x+width > 1000 {
			t.Errorf("the bar %s leaves its picture: %v", wide[0], err)
		}
	}
	many := make([]veneer.DockerfileStep, maxSteps+5)
	if text := withSteps(t, many); strings.Count(text, `<svg class="bar thin"`) != maxSteps || !strings.Contains(text, "and 5 more") {
		t.Errorf("%d rows, want %d", strings.Count(text, `<svg class="bar thin"`), maxSteps)
	}
}

// renamed are the same steps with names that harm nobody.
func renamed(steps []veneer.DockerfileStep) []veneer.DockerfileStep {
	var out []veneer.DockerfileStep
	for _, s := range steps {
		s.Name, s.Platforms = "name", []string{"platform"}
		out = append(out, s)
	}
	return out
}
