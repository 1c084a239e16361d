package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestReportBuild: the steps of a file of --metadata-file are on the page, with a
// warning there and on standard error if the file is of another image.
func TestReportBuild(t *testing.T) {
	_, id := buildApp(t)
	name := filepath.Join(t.TempDir(), "build.json")
	other := digest.FromString("other").String()
	steps := `[{"name": "[1/1] RUN <b>\u001b", "line": 2, "started": 0.5, "seconds": 1.5, "cached": true, "new": {}}]`
	for made, of := range map[string]string{
		fmt.Sprintf(`"containerimage.digest": %q`, id):                                                       "this image",
		fmt.Sprintf(`"containerimage.digest": %q, "veneer": {"manifests": [{"digest": %q}]}`, other, id):     "an index with this image",
		fmt.Sprintf(`"containerimage.digest": %q, "veneer": {"manifests": [{"digest": %[1]q}]}`, other):      "another image",
		fmt.Sprintf(`"containerimage.digest": %q, "image.name": "docker.io/library/app:1", "x": [1]`, other): "another image",
	} {
		if err := os.WriteFile(name, []byte("{"+made+`, "veneer.steps": `+steps+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
		page, errOut := ok(t, "report", "app:1", "--build", name, "-o", "-")
		if !strings.Contains(page, `[1/1] RUN &lt;b&gt;\x1b`) || !strings.Contains(page, "line 2") {
			t.Errorf("%s: the page has not the step", of)
		}
		warns := of == "another image"
		for what, text := range map[string]string{"the page": page, "standard error": errOut} {
			if strings.Contains(text, name+" is of another build: it made "+other) != warns {
				t.Errorf("%s, %s: a warning is wanted: %v\n%s", of, what, warns, errOut)
			}
		}
	}
}

// TestReportBuildFile: what is wrong with a file is said before the image is read.
func TestReportBuildFile(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	head := fmt.Sprintf(`{"containerimage.digest": %q, "veneer.steps": `, digest.FromString("x"))
	for i, c := range []struct{ text, want string }{
		{"", "no file of veneer build --metadata-file"},
		{"sha256:abc", "no file of veneer build --metadata-file"},
		{`[{"name": "x"}]`, "no file of veneer build --metadata-file"},
		{`{"veneer.steps": [{"name": "x"}]}`, "no digest of an image"},
		{`{"containerimage.digest": "x", "veneer.steps": [{"name": "x"}]}`, "no digest of an image"},
		{`{"app": {"containerimage.digest": "` + digest.FromString("x").String() + `"}}`, "no digest of an image"},
		{head + `[]}`, "has no steps: veneer build writes them for a Dockerfile"},
		{head + `{}}`, "no file of veneer build --metadata-file"},
		{head + `[{"name": "x"}]} {}`, "no file of veneer build --metadata-file"},
		{head + `[{}]}`, "step 1 has no name"},
		{head + `[{"name": "x"}, {"name": "x", "seconds": -1}]}`, "step 2 has no possible time"},
		{head + `[{"name": "x", "started": 1e300}]}`, "step 1 has no possible time"},
		{head + `[{"name": "x", "seconds": 1e999}]}`, "no file of veneer build --metadata-file"},
		{head + `[{"name": "x", "bytes": -1}]}`, "step 1 has no possible layer"},
		{head + `[{"name": "x", "layer": "../x"}]}`, "step 1 has no possible layer"},
		{head + `[{"name": "` + strings.Repeat("x", maxBuilt) + `"}]}`, "larger than 4194304 bytes"},
	} {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, errOut := veneerRun(t.Context(), "report", "absent", "--build", name, "-o", "-")
		if code != exitError || !strings.Contains(errOut, c.want) || !strings.Contains(errOut, name) {
			t.Errorf("%.80s: exit code %d, %s; want %q", c.text, code, errOut, c.want)
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "none")} {
		if code, _, errOut := veneerRun(t.Context(), "report", "absent", "--build", name, "-o", "-"); code != exitError || !strings.Contains(errOut, name) {
			t.Errorf("%s: exit code %d, %s", name, code, errOut)
		}
	}
}
