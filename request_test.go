package veneer_test

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content/config"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// TestRequestsAreNotWrittenTo: each verb gets a request whose lists and maps have room for more and whose names are not
// in their full form. Afterwards it is what a second, untouched one is.
func TestRequestsAreNotWrittenTo(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "file", "content")
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})
	write(t, src, "file", "other content")
	write(t, src, "linux-amd64/tool", "for Linux")
	mustBuild(t, e, veneer.BuildRequest{Base: "base:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"full:1"}}})

	targets := func() veneer.TargetOptions {
		return veneer.TargetOptions{Targets: append(make([]veneer.TargetSpec, 0, 8),
			veneer.TargetSpec{Op: differ.Copy, Source: src + "/{{.OS}}-amd64", Dest: "usr/bin/", Exclude: roomy("*.log"), Only: roomy("/tool")},
			veneer.TargetSpec{Op: differ.Delete, Dest: "/app/file"},
		)}
	}
	image := func(tag string) veneer.ImageOptions {
		return veneer.ImageOptions{
			Tags:        roomy(tag, tag+"-again"),
			Config:      config.Edit{Changes: roomy("ENV A=b", "LABEL c=d"), Unset: roomy("env=PATH"), Message: "a message"},
			Annotations: map[string]string{"a": "b"},
			NoUnpack:    true,
		}
	}
	layer := func() veneer.LayerOptions {
		when := time.Unix(1700000000, 0)
		return veneer.LayerOptions{Epoch: &when}
	}
	for _, c := range []struct {
		name string
		// request makes the request anew at each call, and run takes one of them.
		request func() any
		run     func(e *engine.Engine, req any) error
		fails   string
	}{
		{name: "build", request: func() any {
			return &veneer.BuildRequest{Base: "base:1", TargetOptions: targets(), LayerOptions: layer(), ImageOptions: image("built")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Build(t.Context(), e, *req.(*veneer.BuildRequest))
			return err
		}},
		{name: "build for platforms", request: func() any {
			return &veneer.BuildRequest{Base: "scratch", Platforms: roomy("linux/amd64", "linux/386"), TargetOptions: targets(), LayerOptions: layer(), ImageOptions: image("index")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Build(t.Context(), e, *req.(*veneer.BuildRequest))
			return err
		}},
		{name: "delta", request: func() any {
			return &veneer.DeltaRequest{Base: "base:1", Full: "full:1", Archive: io.Discard, LayerOptions: layer(), ImageOptions: image("delta")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Delta(t.Context(), e, *req.(*veneer.DeltaRequest))
			return err
		}},
		{name: "squash", request: func() any {
			return &veneer.SquashRequest{Base: "full:1", Onto: "base:1", LayerOptions: layer(), ImageOptions: image("squashed")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Squash(t.Context(), e, *req.(*veneer.SquashRequest))
			return err
		}},
		{name: "commit", request: func() any {
			return &veneer.CommitRequest{Container: "web", Only: roomy("/etc"), Exclude: roomy("*.log"), LayerOptions: layer(), ImageOptions: image("committed")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Commit(t.Context(), e, *req.(*veneer.CommitRequest))
			return err
		}, fails: "container"}, // The embedded engine has none.
		{name: "diff", request: func() any {
			return &veneer.DiffRequest{Base: "base:1", NoUnpack: true, TargetOptions: targets(), LayerOptions: layer()}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Diff(t.Context(), e, *req.(*veneer.DiffRequest))
			return err
		}},
		{name: "compare", request: func() any {
			return &veneer.CompareRequest{A: "base:1", B: "full:1"}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Compare(t.Context(), e, *req.(*veneer.CompareRequest))
			return err
		}},
		{name: "verify", request: func() any {
			return &veneer.VerifyRequest{Image: "base:1"}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Verify(t.Context(), e, *req.(*veneer.VerifyRequest))
			return err
		}},
		{name: "same", request: func() any {
			return &veneer.SameRequest{A: "base:1", B: "full:1"}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.SameRootfs(t.Context(), e, *req.(*veneer.SameRequest))
			return err
		}},
		{name: "export", request: func() any {
			return &veneer.ExportRequest{Image: "base:1"}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Export(t.Context(), e, io.Discard, *req.(*veneer.ExportRequest))
			return err
		}},
		{name: "save", request: func() any {
			return &veneer.SaveRequest{Images: roomy("full:1"), Since: roomy("base:1")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.Save(t.Context(), e, io.Discard, *req.(*veneer.SaveRequest))
			return err
		}},
		{name: "save delta", request: func() any {
			return &veneer.SaveDeltaRequest{Image: "full:1", Since: roomy("base:1")}
		}, run: func(e *engine.Engine, req any) error {
			_, err := veneer.SaveDelta(t.Context(), e, io.Discard, *req.(*veneer.SaveDeltaRequest))
			return err
		}},
		{name: "load", request: func() any {
			return &veneer.LoadRequest{Names: roomy("loaded:1"), NoUnpack: true}
		}, run: func(e *engine.Engine, req any) error {
			r, w := io.Pipe()
			go func() {
				_, err := veneer.Save(t.Context(), e, w, veneer.SaveRequest{Images: []string{"base:1"}})
				w.CloseWithError(err)
			}()
			_, err := veneer.Load(t.Context(), e, r, *req.(*veneer.LoadRequest))
			return err
		}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			req := c.request()
			err := c.run(e, req)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			want := c.request()
			if !reflect.DeepEqual(req, want) {
				t.Errorf("the request was written to:\n%+v\nwas\n%+v", req, want)
			}
			for _, list := range lists(reflect.ValueOf(req).Elem()) {
				for i := list.Len(); i < list.Cap(); i++ {
					if beyond := list.Slice(0, list.Cap()).Index(i); !beyond.IsZero() {
						t.Errorf("%v was appended to: %v", list, beyond)
					}
				}
			}
		})
	}
}

// roomy is a list with room, so that who appends to it writes into it.
func roomy(list ...string) []string { return append(make([]string, 0, 8), list...) }

// lists are all slices in a value.
func lists(v reflect.Value) []reflect.Value {
	switch v.Kind() {
	case reflect.Slice:
		all := []reflect.Value{v}
		for i := range v.Len() {
			all = append(all, lists(v.Index(i))...)
		}
		return all
	case reflect.Struct:
		var all []reflect.Value
		for i := range v.NumField() {
			all = append(all, lists(v.Field(i))...)
		}
		return all
	}
	return nil
}
