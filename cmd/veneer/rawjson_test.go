package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"

	"github.com/veneer-build/veneer"
)

// TestRawJSON: each line is a status as BuildKit's clients read it, and together they
// tell of each step when it began, what it wrote and how it ended.
func TestRawJSON(t *testing.T) {
	var out bytes.Buffer
	p := newRawPrinter(&out)
	p.Started(1, "RUN one")
	p.Started(2, "RUN two \x1b[2J")
	p.Output(1, []byte("said\xff\n"))
	p.Output(3, []byte("of none\n"))
	p.Ended(2, veneer.StepEnding{Cached: true})
	p.Ended(1, veneer.StepEnding{Err: errors.New("exit code 1")})
	p.Warn("doubtful")
	d := &rawDisplay{rawPrinter: p}
	d.Step(veneer.Step{Kind: "push", Of: "a:1"})
	d.Step(veneer.Step{Kind: "push", Of: "b:1"})
	d.Close()
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("a control character is printed as it is: %q", out.String())
	}
	type step struct {
		begun, done, cached bool
		err, wrote          string
	}
	got, names := map[string]*step{}, map[string]string{}
	var warned []string
	for line := range strings.Lines(out.String()) {
		var s client.SolveStatus
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, v := range s.Vertexes {
			names[v.Digest.String()] = v.Name
			got[v.Name] = &step{begun: v.Started != nil, done: v.Completed != nil, cached: v.Cached, err: v.Error, wrote: wrote(got[v.Name] != nil, func() string { return got[v.Name].wrote })}
		}
		for _, l := range s.Logs {
			got[names[l.Vertex.String()]].wrote += string(l.Data)
		}
		for _, w := range s.Warnings {
			warned = append(warned, string(w.Short))
		}
	}
	want := map[string]step{
		"RUN one":         {begun: true, done: true, err: "exit code 1", wrote: "said\xff\n"},
		"RUN two \x1b[2J": {begun: true, done: true, cached: true},
		"push a:1":        {begun: true, done: true},
		"push b:1":        {begun: true},
	}
	for name, w := range want {
		if g := got[name]; g == nil || *g != w {
			t.Errorf("%q: %+v, want %+v", name, g, w)
		}
	}
	if len(got) != len(want) || len(warned) != 1 || warned[0] != "doubtful" {
		t.Errorf("steps %v, warnings %q", got, warned)
	}
}

// wrote keeps what a step wrote before.
func wrote(before bool, what func() string) string {
	if before {
		return what()
	}
	return ""
}

// TestOutput: the words of docker buildx's --output, and what is refused by name.
func TestOutput(t *testing.T) {
	for text, want := range map[string]outputFlag{
		"dir":                              {kind: "local", dest: "dir"},
		"-":                                {kind: "tar", dest: "-"},
		"type=local,dest=dir":              {kind: "local", dest: "dir"},
		"type=docker":                      {kind: "docker", dest: "-"},
		"type=oci,dest=a.tar":              {kind: "oci", dest: "a.tar"},
		"type=image":                       {kind: "image"},
		"type=image,name=a:1":              {kind: "image", names: []string{"a:1"}},
		"type=image,push=false":            {kind: "image"},
		`type=image,"name=a:1,b/c",push=1`: {kind: "image", names: []string{"a:1", "b/c"}, push: true},
		"type=registry":                    {kind: "registry", push: true},
		"type=registry,name=a,push=true":   {kind: "registry", names: []string{"a"}, push: true},
	} {
		got, err := parseOutput(text)
		if err != nil || got.kind != want.kind || got.dest != want.dest || got.push != want.push || strings.Join(got.names, " ") != strings.Join(want.names, " ") {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, word := range map[string]string{
		"type=image,dest=x":              `"dest"`,
		"type=image,compression=zstd":    `"compression"`,
		"type=registry,push-by-digest=1": `"push-by-digest"`,
		"type=registry,push=false":       "type=image",
		"type=image,push=x":              "true or false",
		"type=image,push":                "KEY=VALUE",
		"type=image,name=A":              "A",
		"type=local,dest=x,name=y":       `"name"`,
		"type=tar,push=true,dest=x":      `"push"`,
		"type=cacheonly":                 "the type is",
		"dest=x":                         "the type is",
		"type=local":                     "dest=PATH",
	} {
		if got, err := parseOutput(text); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %+v, %v, want %q in the error", text, got, err, word)
		}
	}
	var one oneOutput
	if err := errors.Join(one.Set("a"), one.Set("type=tar")); err == nil || one != "a" {
		t.Errorf("a second --output: %v, and it is %s", err, one)
	}
}
