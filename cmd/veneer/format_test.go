package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
)

// TestFormatWords: what docker prints for the same template, and where that is
// nothing, what docker's words mean here.
func TestFormatWords(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := "sha256:" + strings.Repeat("ab", 32)
	row := imageRow{Name: "docker.io/library/app:1", Target: ocispec.Descriptor{Digest: "sha256:" + "abababababababababababababababababababababababababababababababab"}, Size: 74_812_345, Platforms: []string{"linux/amd64"}}
	for template, want := range map[string]string{
		"{{.Repository}}:{{.Tag}}":                   "app:1\n",
		"{{.ID}}":                                    "abababababab\n",
		"{{.Digest}}":                                id + "\n",
		"{{.Size}}":                                  "74.8MB\n",
		"{{.CreatedSince}}, {{.CreatedAt}}":          "2 weeks ago, 2026-02-15 12:00:00 +0000 UTC\n",
		"{{upper .Repository}} {{lower \"A\"}}":      "APP a\n",
		"{{json .Labels}}":                           `{"a":"b\u001b"}` + "\n",
		"{{.Labels.a}}":                              `b\u001b` + "\n",
		`{{join .Platforms ","}}{{pad .Tag 1 0}}`:    "linux/amd64 1\n",
		`{{range split .Name "/"}}[{{.}}]{{end}}`:    "[docker.io][library][app:1]\n",
		`{{.Tag}}\t{{title .Repository}}`:            "1\tApp\n",
		"table {{.Repository}}\t{{.Tag}}":            "REPOSITORY   TAG\napp          1\n",
		`table {{.ID}}\t{{upper .CreatedSince}}`:     "IMAGE ID       CREATED\nabababababab   2 WEEKS AGO\n",
		`{{truncate .Name 6}}{{println}}{{len .ID}}`: "docker\n12\n",
	} {
		f := newRowFormat("text", imageWords{})
		if err := f.Set(template); err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		var out strings.Builder
		words := wordsOfImage(&row, now.Add(-14*24*time.Hour), map[string]string{"a": "b\x1b"}, false, now)
		if err := f.print(&out, imageHeading, words); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", template, out.String(), err, want)
		}
	}
	full := wordsOfImage(&row, time.Time{}, nil, true, now)
	if full.ID != id || full.CreatedAt != "N/A" || full.CreatedSince != "N/A" {
		t.Errorf("not shortened: %+v", full)
	}
	row.Name = "docker.io/library/app@" + id
	if w := wordsOfImage(&row, now, nil, false, now); w.Repository != "app" || w.Tag != "<none>" {
		t.Errorf("without a tag: %+v", w)
	}
}

func TestFormatErrors(t *testing.T) {
	for template, want := range map[string]string{
		"xml":                     "use text, json, table, or a template such as '{{.ID}}'",
		"{{.Bogus}}":              "there is no field .Bogus; '{{json .}}' prints all that there are",
		"{{.ID":                   "1: unclosed action",
		"table {{.ID}} {{.Nope}}": "there is no field .Nope; '{{json .}}' prints all that there are",
		"{{frobnicate .ID}}":      `1: function "frobnicate" not defined`,
	} {
		f := newRowFormat("text", imageWords{})
		if err := f.Set(template); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", template, err, want)
		}
	}
}

// TestFormats: the three verbs print by templates, and fields that OCI does not know
// are in the JSON of a config.
func TestFormats(t *testing.T) {
	_, id := buildApp(t)
	ok(t, "build", "--from", "app:1", "-c", "LABEL team=web", "-c", "HEALTHCHECK CMD true", "-t", "web:2", "--no-unpack", "--source-date-epoch", "1700000000")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"images", "app"}, "app:1"},
		{[]string{"images", "web:2"}, "web:2"},
		{[]string{"images", "web:3"}, ""},
		{[]string{"images", "*"}, "app:1 web:2"},
		{[]string{"images", "-f", "label=team"}, "web:2"},
		{[]string{"images", "--filter", "label=team=db"}, ""},
		{[]string{"images", "--filter", "since=web:2"}, "app:1"},
		{[]string{"images", "--filter", "before=app:1"}, "web:2"},
		{[]string{"images", "--filter", "reference=w*", "--filter", "reference=app"}, "app:1 web:2"},
		{[]string{"images", "--filter", "dangling=true"}, ""},
	} {
		out, _ := ok(t, append(c.args, "--format", "{{.Repository}}:{{.Tag}}")...)
		if got := strings.Join(strings.Fields(out), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
	for _, bad := range []string{"label", "size=3", "dangling=perhaps", "before=B B", "reference=[a"} {
		if code, _, errOut := veneerRun(t.Context(), "images", "--filter", bad); code != exitUsage {
			t.Errorf("--filter %s: %d, %s", bad, code, errOut)
		}
	}
	if out, _ := ok(t, "images", "--no-trunc", "app:1"); !strings.Contains(out, id) {
		t.Errorf("--no-trunc: %s", out)
	}
	layers, _ := ok(t, "history", "-q", "web:2")
	if words, _ := ok(t, "history", "--no-trunc", "--format", "{{if ne .ID \"<none>\"}}{{.ID}}{{end}}", "web:2"); strings.TrimSpace(words) != strings.TrimSpace(layers) || len(layers) != 72 {
		t.Errorf("history: %q, %q", layers, words)
	}
	if out, _ := ok(t, "history", "--format", "table {{.Size}}\t{{.CreatedBy}}", "web:2"); !strings.HasPrefix(out, "SIZE      CREATED BY\n") {
		t.Errorf("history: %q", out)
	}
	for template, want := range map[string]string{
		"{{.Config.Labels.team}} {{.Os}}/{{.Architecture}} {{index .RepoTags 0}}":             "web linux/" + hostArch(t) + " web:2\n",
		"{{json .Config.Cmd}} {{.Created}} {{join .Config.Healthcheck.Test \" \"}}":           `["/app/run"] 2023-11-14T22:13:20Z CMD-SHELL true` + "\n",
		"{{len .RootFS.Layers}} {{len .Manifest.layers}} {{.Config.User}}{{.Config.OnBuild}}": "1 1 []\n",
	} {
		if out, _ := ok(t, "inspect", "--format", template, "web:2"); out != want {
			t.Errorf("%s: %q, want %q", template, out, want)
		}
	}
	stored, _ := ok(t, "inspect", "--config", "web:2")
	var doc struct{ Config json.RawMessage }
	if err := json.Unmarshal([]byte(stored), &doc); err != nil {
		t.Fatal(err)
	}
	if out, _ := ok(t, "inspect", "--format", "{{json .Config}}", "web:2"); strings.TrimSpace(out) != string(doc.Config) {
		t.Errorf("config %q, want %q", out, doc.Config)
	}
	for _, bad := range []string{"text", "table {{.Id}}", "{{.Config.Bogus}}"} {
		if code, _, errOut := veneerRun(t.Context(), "inspect", "--format", bad, "web:2"); code != exitUsage {
			t.Errorf("inspect --format %s: %d, %s", bad, code, errOut)
		}
	}
}

func hostArch(t *testing.T) string {
	t.Helper()
	out, _ := ok(t, "version", "--format", "json")
	var b buildInfo
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatal(err)
	}
	return b.Arch
}

// TestHistoryWords: a hostile instruction stays on its line.
func TestHistoryWords(t *testing.T) {
	w := wordsOfStep(&veneer.HistoryStep{CreatedBy: "RUN a\n\tb" + strings.Repeat("x", 80)}, false, time.Now())
	if strings.ContainsAny(w.CreatedBy, "\n\t") || len([]rune(w.CreatedBy)) != 60 || w.ID != "<none>" || w.Size != "0B" {
		t.Errorf("%+v", w)
	}
}

// savedApp saves app:1 as an archive, and as the layout that it contains.
func savedApp(t *testing.T) (archive, layout string) {
	t.Helper()
	dir := t.TempDir()
	archive, layout = filepath.Join(dir, "app.tar"), filepath.Join(dir, "layout")
	ok(t, "save", "app:1", "-o", archive, "--progress", "quiet")
	if err := os.Mkdir(layout, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", layout, "-xf", archive).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return archive, layout
}

// TestInspectOutside: an archive and a layout are as what they were made of, and no
// engine is needed. "registry:2" is an image's name, as ever.
func TestInspectOutside(t *testing.T) {
	buildApp(t)
	archive, layout := savedApp(t)
	history, _ := ok(t, "history", "--no-trunc", "app:1")
	config, _ := ok(t, "inspect", "--config", "app:1")
	t.Setenv("VENEER_ENGINE", "containerd")
	t.Setenv("CONTAINERD_ADDRESS", filepath.Join(t.TempDir(), "no.sock"))
	for _, ref := range []string{"archive:" + archive, "oci:" + layout, "archive:" + archive + ":app:1"} {
		if out, _ := ok(t, "history", "--no-trunc", ref); out != history {
			t.Errorf("history %s: %s, want %s", ref, out, history)
		}
		if out, _ := ok(t, "inspect", "--config", ref); out != config {
			t.Errorf("inspect %s: %s, want %s", ref, out, config)
		}
	}
	for text, want := range map[string]string{
		"registry:2": "", "registry:debian:12": "debian:12", "registry:localhost/a": "localhost/a", "docker://debian": "debian", "docker://": "",
	} {
		if name, remote := veneer.RegistryRef(text); remote != (want != "") || remote && name != want {
			t.Errorf("%s: %q, %v", text, name, remote)
		}
	}
}
