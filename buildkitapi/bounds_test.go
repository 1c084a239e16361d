package buildkitapi_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/veneer-build/veneer/buildkitapi"
	"github.com/veneer-build/veneer/engine/enginetest"
)

// TestBounds: a client's Dockerfile of which gigabytes would become is an error, under
// whatever name and by whatever variables, and one that is not builds.
func TestBounds(t *testing.T) {
	enginetest.Root(t)
	c := serve(t)
	doubled := "FROM scratch\nARG A=aaaaaaaaaaaaaaaa\n" + strings.Repeat("ENV A=$A$A\n", 40)
	for _, test := range []struct {
		name, file, text string
		args             map[string]string
		bad              bool
	}{
		{name: "plain", text: "FROM scratch\nENV A=a\nCOPY Dockerfile /$A\n"},
		{name: "doubled", text: doubled, bad: true},
		{name: "under another name", file: "other", text: doubled, bad: true},
		{name: "in small letters", file: "dockerfile", text: doubled, bad: true},
		{
			name: "by an argument", text: "FROM scratch\nARG A\n" + strings.Repeat("LABEL a=$A\n", 2000), bad: true,
			args: map[string]string{"build-arg:A": strings.Repeat("a", 100<<10)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			attrs := map[string]string{}
			for name, value := range test.args {
				attrs[name] = value
			}
			file := "Dockerfile"
			if test.file != "" {
				file = test.file
			}
			if file == "other" {
				attrs["filename"] = file
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			fs, err := fsutil.NewFS(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Solve(t.Context(), nil, client.SolveOpt{
				Frontend: "dockerfile.v0", FrontendAttrs: attrs, LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs},
			}, nil)
			if bad := err != nil; bad != test.bad || bad && !strings.Contains(err.Error(), "which is the limit") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// serve starts a server on an embedded engine, and returns a client of it.
func serve(t *testing.T) *client.Client {
	t.Helper()
	e, ctx := enginetest.Embedded(t, "native")
	s, err := buildkitapi.New(buildkitapi.Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	// A socket's name has an end, which a test's own directory may go beyond.
	dir, err := os.MkdirTemp("", "api") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := s.Serve()
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	c, err := client.New(ctx, "unix://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}
