package main

import (
	"strings"
	"testing"

	template "github.com/DataDog/datadog-agent/pkg/template/text"
	"github.com/docker/cli/templates"
)

// TestTemplateFuncs: docker's package and ours make the same of a template, or both fail.
func TestTemplateFuncs(t *testing.T) {
	row := map[string]any{
		"text": "aé<b> c", "empty": "", "words": []string{"b", "a"}, "numbers": []int{2, 10}, "map": map[string]int{"x": 2, "y": 10},
		"nothing": nil, "bad": func() {}, "row": imageWords{ID: "1", Platforms: []string{"linux/amd64"}, Labels: map[string]string{"a": "&"}},
	}
	var list []string
	for name := range row {
		for _, call := range []string{
			"json .V", `split .V ""`, `split .V "e"`, `join .V ", "`, "title .V", "lower .V", "upper .V", "pad .V 1 2", "pad .V 0 0", "pad .V -1 0",
			"truncate .V 0", "truncate .V 2", "truncate .V 99", "truncate .V -1", "len .V", "index .V 0", "printf `%v` .V",
		} {
			list = append(list, "{{"+strings.ReplaceAll(call, "V", name)+"}}")
		}
	}
	list = append(list, "{{range $i, $w := .words}}{{if $i}}, {{end}}{{upper $w}}{{end}}", `{{with .row}}{{.ID}}{{range .Platforms}}{{.}}{{end}}{{.Labels.a}}{{end}}`, "{{.row.No}}")
	for _, text := range list {
		ours, err := template.New("").Funcs(templateFuncs).Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		dockers, err := templates.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got, want strings.Builder
		err, wantErr := ours.Execute(&got, row), dockers.Execute(&want, row)
		if got.String() != want.String() || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %q, %v; docker: %q, %v", text, got.String(), err, want.String(), wantErr)
		}
	}
}
