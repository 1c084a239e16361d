package main

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// requestOf parses build's flags alone.
func requestOf(t *testing.T, env map[string]string, args ...string) (veneer.BuildRequest, error) {
	t.Helper()
	var base baseFlags
	var image imageFlags
	var req veneer.BuildRequest
	a := newApp(streams{err: &bytes.Buffer{}}, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	cmd := &cobra.Command{Use: "build", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) (err error) {
		req, err = a.buildRequest(&base, &image)
		return err
	}}
	base.bind(cmd)
	image.bind(cmd)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.Background())
	req.Log = nil
	return req, err
}

// defaults is the request of "--from base".
func defaults(edit func(*veneer.BuildRequest)) veneer.BuildRequest {
	r := veneer.BuildRequest{Base: "base", MaxLayers: veneer.DefaultMaxLayers}
	r.Compare, r.Compression = veneer.CompareContent, veneer.Gzip
	if edit != nil {
		edit(&r)
	}
	return r
}

func TestFlagsToRequest(t *testing.T) {
	epoch := time.Unix(1700000000, 0).UTC()
	for _, c := range []struct {
		args string
		env  map[string]string
		want func(*veneer.BuildRequest)
	}{
		{"", nil, nil},
		{"--platform linux/arm64", nil, func(r *veneer.BuildRequest) { r.Platform = "linux/arm64" }},
		{"-t a -t b:1", nil, func(r *veneer.BuildRequest) { r.Tags = []string{"a", "b:1"} }},
		{"--compare metadata", nil, func(r *veneer.BuildRequest) { r.Compare = veneer.CompareMetadata }},
		{"--reader index", nil, func(r *veneer.BuildRequest) { r.Reader = veneer.ReadIndex }},
		{"--reader view", nil, func(r *veneer.BuildRequest) { r.Reader = veneer.ReadView }},
		{"--compression zstd --compression-level 19", nil, func(r *veneer.BuildRequest) { r.Compression, r.CompressionLevel = veneer.Zstd, 19 }},
		{"--max-layers 7", nil, func(r *veneer.BuildRequest) { r.MaxLayers = 7 }},
		{"--max-layers 0", nil, func(r *veneer.BuildRequest) { r.MaxLayers = -1 }},
		{"--no-unpack", nil, func(r *veneer.BuildRequest) { r.NoUnpack = true }},
		{"--differ service", nil, func(r *veneer.BuildRequest) { r.Differ = veneer.DifferService }},
		{"--differ veneer", nil, nil},
		{"--force-delete --no-cache", nil, func(r *veneer.BuildRequest) { r.ForceDelete, r.NoCache = true, true }},
		{"--annotation a=b=c --annotation d=", nil, func(r *veneer.BuildRequest) { r.Annotations = map[string]string{"a": "b=c", "d": ""} }},
		{"--author me -m why --unset cmd -c USER|1,2 --change ENV|A=b", nil, func(r *veneer.BuildRequest) {
			r.Config = veneer.ConfigEdit{Author: "me", Message: "why", Unset: []string{"cmd"}, Changes: []string{"USER 1,2", "ENV A=b"}}
		}},
		{"--source-date-epoch 1700000000", map[string]string{"SOURCE_DATE_EPOCH": "1"}, func(r *veneer.BuildRequest) { r.Epoch = &epoch }},
		{"", map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}, func(r *veneer.BuildRequest) { r.Epoch = &epoch }},
		{"", map[string]string{"SOURCE_DATE_EPOCH": ""}, nil},
		{"--sync a:/a --delete /b --copy c:/a/c --delete /d --sync type=tar,src=-,dest=/e", nil, func(r *veneer.BuildRequest) {
			r.Targets = []veneer.TargetSpec{
				{Op: veneer.OpSync, Source: "a", Dest: "/a"},
				{Op: veneer.OpDelete, Dest: "/b"},
				{Op: veneer.OpCopy, Source: "c", Dest: "/a/c"},
				{Op: veneer.OpDelete, Dest: "/d"},
				{Op: veneer.OpSync, Type: "tar", Source: "-", Dest: "/e"},
			}
		}},
	} {
		args := append([]string{"--from", "base"}, strings.Fields(c.args)...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "|", " ")
		}
		got, err := requestOf(t, c.env, args...)
		if want := defaults(c.want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", c.args, err, got, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]veneer.TargetSpec{
		"a:/b":                 {Source: "a", Dest: "/b"},
		"./a/:/b/":             {Source: "./a/", Dest: "/b/"},
		"a:b":                  {Source: "a", Dest: "b"},
		"a:.":                  {Source: "a", Dest: "."},
		"a:b:/c":               {Source: "a:b", Dest: "/c"},
		"a:/b:c":               {Source: "a", Dest: "/b:c"},
		`C:\x:/y`:              {Source: `C:\x`, Dest: "/y"},
		"C:/x:/y":              {Source: "C:/x", Dest: "/y"},
		"a=b:/c":               {Source: "a=b", Dest: "/c"},
		"./src=x,dest=y:/z":    {Source: "./src=x,dest=y", Dest: "/z"},
		"src=a,dest=/b":        {Source: "a", Dest: "/b"},
		"source=a,dst=/b":      {Source: "a", Dest: "/b"},
		"src=a,destination=/b": {Source: "a", Dest: "/b"},
		"src=a,target=b/":      {Source: "a", Dest: "b/"},
		"src=C:/a,dest=/b:c":   {Source: "C:/a", Dest: "/b:c"},
		`"src=a,b",dest=/c`:    {Source: "a,b", Dest: "/c"},
		"type=dir,src=a,dest=/b,chown=1:staff,chmod=u=rwX,owner=source,exclude=*.log,exclude=!x.log,ignorefile=.i,dirlinks=replace": {
			Type: "dir", Source: "a", Dest: "/b", Chown: "1:staff", Chmod: "u=rwX", Owner: "source",
			Exclude: []string{"*.log", "!x.log"}, IgnoreFile: ".i", DirLinks: "replace",
		},
		"type=image,ref=app:1,src=/a,dest=/b":              {Type: "image", Ref: "app:1", Source: "/a", Dest: "/b"},
		"type=container,id=web,pause=false,src=/a,dest=/b": {Type: "container", Ref: "web", NoPause: true, Source: "/a", Dest: "/b"},
	} {
		got, err := parseTarget(veneer.OpCopy, text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", text, err, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                "empty",
		"a":                               "SRC:DEST",
		":/b":                             "source is empty",
		"a:":                              "destination is empty",
		"-:/b":                            "type=tar",
		"src=-,dest=/b":                   "type=tar",
		"src=a":                           "destination is empty",
		"dest=/a":                         "source is empty",
		"sorce=a":                         "src|source",
		"src=a,dset=/b":                   `unknown key "dset"`,
		"src=a,dest=/b,exclude":           "needs a value",
		"src=,dest=/b":                    "needs a value",
		"src=a,dest=/b,dst=/c":            "twice",
		"src=a,dest=/b,type=zip":          "image or container",
		"type=container,src=a,dest=/b":    "needs id=CONTAINER",
		"src=a,dest=/b,id=web":            "type=container only",
		"src=a,dest=/b,pause=false":       "type=container only",
		"id=c,src=/,dest=/,pause=no":      "use true or false",
		"src=a,dest=/b,owner=me":          "base, source or root",
		"src=a,dest=/b,dirlinks=x":        "follow, replace or error",
		"src=a,dest=/b,chmod=999":         "chmod(1)",
		"src=a,dest=/b,chown=:":           "USER[:GROUP]",
		"src=a,dest=/b,chown=a b":         "USER[:GROUP]",
		`src=a,dest=/b,exclude=[`:         "exclude=[",
		`src=a,dest=/b,"exclude=x`:        "KEY=VALUE",
		"src=a,dest=/b\nsrc=c,dest=/d":    "more than one line",
		"src=a,dest=/b,chmod=u+rwx,g=":    `unknown key "g"`,
		`src=a,dest=/b,"chmod=u+rwx,g=y"`: "chmod(1)",
	} {
		if got, err := parseTarget(veneer.OpSync, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, error %v, want %q in it", text, got, err, want)
		}
	}
}

func TestChmodForms(t *testing.T) {
	for _, mode := range []string{"0", "755", "0755", "7777", "u+x", "a=rX", "go-w", "=r", "u=g", "u+rwX", "+t", "u+s"} {
		if _, err := parseTarget(veneer.OpCopy, "src=a,dest=/b,chmod="+mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if _, err := parseTarget(veneer.OpCopy, `src=a,dest=/b,"chmod=u+rwX,go="`); err != nil {
		t.Error(err)
	}
}

// FuzzParseTarget: what is accepted has a source and a destination.
func FuzzParseTarget(f *testing.F) {
	f.Add("a:/b")
	f.Add("type=tar,src=-,dest=/x")
	f.Add(`"src=a,b",dest=/c,exclude=[a`)
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := parseTarget(veneer.OpCopy, text)
		if err == nil && (spec.Source == "" || spec.Dest == "") {
			t.Errorf("%q gave %+v", text, spec)
		}
	})
}
