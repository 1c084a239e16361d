package report

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/cmd/veneer/page"
	"github.com/veneer-build/veneer/test/harness"
)

// hostile are names and texts that try to be more than that.
var hostile = []string{
	`</script><script>window.hacked=1</script>`, `<img src=x onerror=window.hacked=1>`, `"onload="window.hacked=1`, `'"` + "`${window.hacked=1}",
	`<!--<script>`, `]]>`, `{{.CSS}}`, `javascript:window.hacked=1`, "line\nbreak", "bell\x07\x1b[31mred", "bad\xff\xfeutf8", "rtl\u202egnp.exe", "zero\u200bwidth",
	"\u2028separators\u2029", "&lt;b&gt;&amp;", `back\slash`, strings.Repeat("long", 60), strings.Repeat("wide ", 40), "\u0645\u0644\u0641", "tab\there", " ", "__proto__", "constructor",
}

type file struct {
	name string
	data []byte
}

// writeLayer writes a layer's tar, and returns its path. A name's directories are implied.
func writeLayer(t *testing.T, path string, files iter.Seq[file]) string {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	buffered := bufio.NewWriterSize(out, 1<<20)
	tw := tar.NewWriter(buffered)
	for f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Mode: 0o644, Format: tar.FormatPAX}
		if !utf8.ValidString(f.name) {
			h.Format = tar.FormatGNU // PAX names are UTF-8
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), buffered.Flush(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostileImages are an old and a new image, all of whose names are hostile.
func hostileImages(t *testing.T, dir string) (img, old string) {
	t.Helper()
	var low, high []file
	env := []string{}
	labels := map[string]string{}
	for i, name := range hostile {
		part := strings.ReplaceAll(name, "/", "∕") // no directory
		low = append(low, file{"dir/" + part, bytes.Repeat([]byte{byte(i)}, 1000*(i+1))}, file{part + "/in/" + part, bytes.Repeat([]byte("same"), 50)})
		low = append(low, file{name[:min(len(name), 200)] + ".d", []byte(name)})
		if i%2 == 0 {
			high = append(high, file{"dir/" + part, bytes.Repeat([]byte{byte(i + 1)}, 900*(i+1))})
		} else {
			high = append(high, file{"dir/.wh." + part[:min(len(part), 200)], nil})
		}
		env, labels[strings.ToValidUTF8(name, "?")] = append(env, "X"+strings.ToValidUTF8(name, "?")), strings.ToValidUTF8(name, "?")
	}
	low = append(low, file{strings.Repeat("d/", 1900) + "deep", []byte("deep")})
	lower, upper := writeLayer(t, filepath.Join(dir, "low.tar"), slices.Values(low)), writeLayer(t, filepath.Join(dir, "high.tar"), slices.Values(high))
	img, old = filepath.Join(dir, "img.oci.tar"), filepath.Join(dir, "old.oci.tar")
	harness.Check(t, harness.WriteImage(old, harness.Image{Name: "docker.io/library/old:1", Layers: []string{lower}}))
	harness.Check(t, harness.WriteImage(img, harness.Image{
		Name: "docker.io/library/hostile:1", Layers: []string{lower, upper}, Config: ocispec.ImageConfig{Env: env, Labels: labels, Cmd: hostile[:4]},
	}))
	return img, old
}

// hostileSteps are a build's, all of whose names are hostile.
func hostileSteps() []veneer.DockerfileStep {
	var steps []veneer.DockerfileStep
	for i, name := range hostile {
		steps = append(steps, veneer.DockerfileStep{
			Name: "RUN " + name, Platforms: []string{name}, Line: i * i, Started: float64(i) / 2, Seconds: float64(i), Cached: i%3 == 0, Layer: digest.Digest(name), Bytes: int64(i * i * i * 1000),
		})
	}
	return steps
}

// render writes the page of an image, which may have an older one and steps, and returns it.
func render(t *testing.T, out, img, old string, steps ...veneer.DockerfileStep) []byte {
	t.Helper()
	e, closeAll, err := veneer.OpenTemporary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	req := veneer.DissectRequest{Image: "archive:" + img}
	if old != "" {
		req.Against = "archive:" + old
	}
	start := time.Now()
	d, err := veneer.Dissect(t.Context(), e, req)
	if err != nil {
		t.Fatal(err)
	}
	apart, taken := time.Since(start), peakMemory(t)
	var b bytes.Buffer
	if err := page.Write(t.Context(), &b, d, steps, "test"); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: taken apart in %v, rendered in %v, %d bytes; peak memory %d MB, and then %d MB", filepath.Base(out), apart, time.Since(start)-apart, b.Len(), taken, peakMemory(t))
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// peakMemory is the most that this process has had, in MB.
func peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	kB, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kB * 1024 / 1e6
}

// expect says what the browser finds on a page.
func expect(t *testing.T, out string, want map[string]string) {
	t.Helper()
	text, err := json.Marshal(want)
	if err == nil {
		err = os.WriteFile(strings.TrimSuffix(out, ".html")+".json", text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPages makes pages and looks at them in Chromium.
func TestPages(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	img, old := hostileImages(t, tmp)
	out := filepath.Join(dir, "hostile.html")
	checkEscaped(t, render(t, out, img, old, hostileSteps()...))
	expect(t, out, map[string]string{"Search": "dir/<∕scr", "Path": "/dir/<∕script><script>window.hacked=1<∕script>", "Said": "added by layer 1, 1.0 kB; replaced by layer 2, 900 B", "Zoom": "dir"})

	out = filepath.Join(dir, "debian.html")
	debian := harness.DebianImage(t)
	text := render(t, out, debian, "")
	expect(t, out, map[string]string{"Search": "etc/debian_version", "Path": "/etc/debian_version", "Said": "added by layer 1", "Zoom": "usr"})
	checkSearch(t, text, harness.DebianRootfs(t))
	browse(t, dir)
}

// TestMillion is the page of a million files: VENEER_SOAK=1.
func TestMillion(t *testing.T) {
	if os.Getenv("VENEER_SOAK") != "1" {
		t.Skip("SKIP: a million files take minutes: VENEER_SOAK=1")
	}
	dir, tmp := t.TempDir(), t.TempDir()
	name := func(i int) string {
		return fmt.Sprintf("srv/%02x/%02x/module-%d/index-%06x.js", i%61, i/61%97, i%7, i*2654435761%(1<<24))
	}
	data := bytes.Repeat([]byte("x"), 200)
	layer := writeLayer(t, filepath.Join(tmp, "l.tar"), func(yield func(file) bool) {
		for i := range 1_000_000 {
			if !yield(file{name(i), data[:i%3*100]}) {
				return
			}
		}
	})
	img := filepath.Join(tmp, "img.oci.tar")
	harness.Check(t, harness.WriteImage(img, harness.Image{Name: "docker.io/library/million:1", Layers: []string{layer}}))
	out, program := filepath.Join(dir, "million.html"), filepath.Join(tmp, "veneer")
	harness.Check(t, harness.BuildProgram(program))
	start := time.Now()
	cmd := exec.CommandContext(t.Context(), program, "report", "archive:"+img, "-o", out, "--progress", "quiet")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatalf("%T", cmd.ProcessState.SysUsage())
	}
	peak := usage.Maxrss * 1024 / 1e6
	t.Logf("%v, %v of CPU, peak memory %d MB", time.Since(start), cmd.ProcessState.UserTime(), peak)
	// Measured: 365 to 384, the more the busier the machine, since the collector falls behind.
	if most := int64(400); peak > most {
		t.Errorf("the report takes %d MB of memory, more than %d", peak, most)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if most := 24 << 20; len(text) > most {
		t.Errorf("the page has %d bytes, more than %d", len(text), most)
	}
	expect(t, out, map[string]string{"Search": name(77)[3:], "Path": "/" + name(77), "Said": "added by layer 1", "Zoom": "srv"})
	browse(t, dir)
}

// browse runs the browser's tests on the pages in a directory.
func browse(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		harness.Check(t, fmt.Errorf("no chromium to look at pages with (apt install chromium): %w", harness.ErrUnavailable))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "./...")
	cmd.Dir = "../browser"
	cmd.Env = append(os.Environ(), "VENEER_PAGES="+dir, "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

var scripts = regexp.MustCompile(`(?i)</?(script|style|img)[^>]*>`)

// checkEscaped looks for what a browser would take for an element, and for the policy.
func checkEscaped(t *testing.T, text []byte) {
	t.Helper()
	want := []string{"<style>", "</style>", `<script type="application/json" id="data">`, "</script>", "<script>", "</script>"}
	if got := scripts.FindAllString(string(text), -1); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the page has %q", got)
	}
	for _, s := range []string{"default-src &#39;none&#39;", "script-src &#39;sha256-", "base-uri &#39;none&#39;"} {
		if !bytes.Contains(text, []byte(s)) && !bytes.Contains(text, []byte(html.UnescapeString(s))) {
			t.Errorf("the page has no %s", s)
		}
	}
}

// checkSearch unpacks what the search knows, and holds the paths against GNU tar's listing.
func checkSearch(t *testing.T, text []byte, rootfs string) {
	t.Helper()
	_, rest, _ := bytes.Cut(text, []byte(`id="data">`))
	raw, _, _ := bytes.Cut(rest, []byte("</script>"))
	var data struct{ Search string }
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(data.Search)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var at []string
	for line := range strings.Lines(string(lines)) {
		var depth int
		var marks string
		if _, err := fmt.Sscanf(line, "%d %s", &depth, &marks); err != nil || depth > len(at) {
			t.Fatalf("%q: %v", line, err)
		}
		at = append(at[:depth], strings.TrimSuffix(strings.SplitN(line, " ", 3)[2], "\n"))
		known[strings.Join(at, "/")] = true
	}
	listing, err := exec.CommandContext(t.Context(), "tar", "-tf", rootfs).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(listing)) {
		p := strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "./"), "/")
		if n++; p != "" && !strings.Contains(p, `\`) && !known[p] {
			t.Errorf("the search does not know %s", p)
		}
	}
	if n < 1000 || len(known) > n {
		t.Errorf("tar lists %d paths, and the search knows %d", n, len(known))
	}
}
