package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// dockerfileRequestOf parses the flags of a Dockerfile's build alone.
func dockerfileRequestOf(t *testing.T, args ...string) (veneer.DockerfileRequest, error) {
	t.Helper()
	var base baseFlags
	var f dockerfileFlags
	var req veneer.DockerfileRequest
	cmd := &cobra.Command{Use: "build", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		return f.request(&req, &base, func(string) (string, bool) { return "", false })
	}}
	base.bind(cmd)
	f.bind(cmd)
	cmd.SetArgs(args)
	return req, cmd.ExecuteContext(context.Background())
}

// TestDockerfileFlags: what the flags of docker build make of a request.
func TestDockerfileFlags(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]func(*veneer.DockerfileRequest){
		"":                                 func(*veneer.DockerfileRequest) {},
		"--no-cache":                       func(r *veneer.DockerfileRequest) { r.NoCache = true },
		"--no-cache=false":                 func(*veneer.DockerfileRequest) {},
		"--no-cache=a,b":                   func(r *veneer.DockerfileRequest) { r.NoCache, r.NoCacheStages = true, []string{"a", "b"} },
		"--no-cache=a --no-cache-filter b": func(r *veneer.DockerfileRequest) { r.NoCache, r.NoCacheStages = true, []string{"a", "b"} },
		"--no-cache --no-cache-filter b":   func(r *veneer.DockerfileRequest) { r.NoCache = true },
		"--platform linux/arm64":           func(r *veneer.DockerfileRequest) { r.Platform = "linux/arm64" },
		"--platform linux/arm64,linux/amd64": func(r *veneer.DockerfileRequest) {
			r.Platforms = []string{"linux/arm64", "linux/amd64"}
		},
		"--ssh default=" + key: func(r *veneer.DockerfileRequest) {
			r.Process.SSH = map[string]veneer.Agent{"default": {Keys: []string{key}}}
		},
		"--ssh x=" + key + "," + key: func(r *veneer.DockerfileRequest) {
			r.Process.SSH = map[string]veneer.Agent{"x": {Keys: []string{key, key}}}
		},
		"--build-context a=docker-image://b": func(r *veneer.DockerfileRequest) { r.Contexts = map[string]string{"a": "docker-image://b"} },
		"--network host":                     func(r *veneer.DockerfileRequest) { r.Process.Network = "host" },
		"--platform local":                   func(r *veneer.DockerfileRequest) { r.Platform = platforms.Format(platforms.DefaultSpec()) },
		"--network default":                  func(*veneer.DockerfileRequest) {},
		"--allow network.host --allow security.insecure": func(r *veneer.DockerfileRequest) {
			r.Process.AllowHostNetwork, r.Process.AllowInsecure = true, true
		},
		"--add-host a:1.2.3.4 --add-host b=::1 --add-host c=[::2]": func(r *veneer.DockerfileRequest) {
			r.Process.ExtraHosts = []string{"a=1.2.3.4", "b=::1", "c=::2"}
		},
		"--shm-size 64m --ulimit nofile=1:2": func(r *veneer.DockerfileRequest) {
			r.Process.ShmSize, r.Process.Ulimits = 64<<20, []string{"nofile=1:2"}
		},
	} {
		var expect veneer.DockerfileRequest
		want(&expect)
		got, err := dockerfileRequestOf(t, strings.Fields(args)...)
		for _, m := range []any{&got, &expect} {
			dropEmptyMaps(m)
		}
		if err != nil || !reflect.DeepEqual(got, expect) {
			t.Errorf("%s: %+v, %v, want %+v", args, got, err, expect)
		}
	}
	for _, args := range []string{
		"--no-cache=,", "--platform all", "--platform linux/x/y/z", "--ssh default", "--ssh x=/nowhere", "--network x", "--allow x", "--add-host x", "--add-host x:host-gateway", "--shm-size x", "--build-context x",
	} {
		if got, err := dockerfileRequestOf(t, strings.Fields(args)...); err == nil {
			t.Errorf("%s: %+v, and no error", args, got)
		}
	}
}

// dropEmptyMaps makes an empty map of a request the same as none.
func dropEmptyMaps(req any) {
	r, ok := req.(*veneer.DockerfileRequest)
	if !ok {
		return
	}
	for _, m := range []*map[string]string{&r.Args, &r.Labels, &r.Contexts} {
		if len(*m) == 0 {
			*m = nil
		}
	}
	if len(r.Process.Secrets) == 0 {
		r.Process.Secrets = nil
	}
	if len(r.Process.SSH) == 0 {
		r.Process.SSH = nil
	}
}

// TestAnnotationKinds: docker build's words before an annotation's key.
func TestAnnotationKinds(t *testing.T) {
	rest, index := takeIndex([]string{"a=b", "index:c=d", "manifest:e=f", "org.example:g=h"})
	if !reflect.DeepEqual(index, []string{"c=d"}) {
		t.Errorf("of the index: %q", index)
	}
	got, err := parseAnnotations(rest)
	if want := map[string]string{"a": "b", "e": "f", "org.example:g": "h"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, kv := range []string{"index:a=b", "manifest-descriptor:a=b", "index-descriptor:a=b", "manifest[linux/amd64]:a=b", "manifest:=b"} {
		if got, err := parseAnnotations([]string{kv}); err == nil {
			t.Errorf("%s: %q, and no error", kv, got)
		}
	}
}
