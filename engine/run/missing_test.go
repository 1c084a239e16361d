package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
)

func missing(t *testing.T, e *engine.Engine, o run.Options, what string) {
	t.Helper()
	_, err := run.New(e, o)
	var m *run.MissingError
	if !errors.As(err, &m) || m.What != what || m.Advice == "" || !strings.Contains(err.Error(), what) {
		t.Errorf("without %s: %v", what, err)
	}
}

func TestNoRunc(t *testing.T) {
	e, _ := enginetest.Embedded(t, "native")
	enginetest.Root(t)
	missing(t, e, run.Options{Runc: "no-such-runc"}, "runc")
	missing(t, e, run.Options{Runc: filepath.Join(t.TempDir(), "runc")}, "runc")
}

func TestNotRoot(t *testing.T) {
	const env = "VENEER_RUN_NOBODY"
	dir := os.Getenv(env)
	if dir == "" {
		enginetest.AsNobody(t, func(dir string) string { return env + "=" + dir })
		return
	}
	e, _ := enginetest.Open(t, engine.Options{Mode: engine.Embedded, Root: filepath.Join(dir, "root"), Snapshotter: "native"})
	missing(t, e, run.Options{}, "root")
}

func TestCheckPlatform(t *testing.T) {
	if err := run.CheckPlatform(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}); err != nil {
		t.Errorf("this one: %v", err)
	}
	for _, p := range []ocispec.Platform{{OS: "linux", Architecture: "sparc64"}, {OS: "windows", Architecture: "amd64"}} {
		err := run.CheckPlatform(p)
		var platform *run.PlatformError
		if !errors.As(err, &platform) || !strings.Contains(err.Error(), p.OS+"/"+p.Architecture) || !strings.Contains(err.Error(), "binfmt_misc") {
			t.Errorf("%v: %v", p, err)
		}
	}
}
