package snapshot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// mountsOf is a snapshotter with one active snapshot, whose mounts are these.
type mountsOf struct {
	snapshots.Snapshotter
	mounts []mount.Mount
	kind   snapshots.Kind
}

func (m mountsOf) Stat(context.Context, string) (snapshots.Info, error) {
	return snapshots.Info{Kind: m.kind, Parent: "sha256:parent"}, nil
}

func (m mountsOf) Mounts(context.Context, string) ([]mount.Mount, error) { return m.mounts, nil }

// TestFindActive: what a snapshotter answers decides whether its files can be read in place.
func TestFindActive(t *testing.T) {
	overlay := func(options ...string) []mount.Mount {
		return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append([]string{"workdir=/w", "upperdir=/u", "lowerdir=/l2:/l1"}, options...)}}
	}
	bind := []mount.Mount{{Type: "bind", Source: "/n", Options: []string{"rbind", "rw"}}}
	for _, c := range []struct {
		name   string
		mounts []mount.Mount
		want   []string
		no     string
	}{
		{"overlay", overlay("index=off"), []string{"/u", "/l2", "/l1"}, ""},
		{"bind", bind, []string{"/n"}, ""},
		{"index", overlay("index=on"), nil, "index=on"},
		{"rootless", overlay("index=off", "userxattr"), nil, "userxattr"},
		{"id-mapped", overlay("index=off", "uidmap=0:100000:65536"), nil, "uidmap"},
		{"another type", []mount.Mount{{Type: "btrfs", Source: "/dev/x"}}, nil, "type btrfs"},
		{"fuse", []mount.Mount{{Type: "fuse3.fuse-overlayfs", Options: []string{"upperdir=/u", "lowerdir=/l"}}}, nil, "fuse3"},
		{"several", append(slices.Clone(bind), bind...), nil, "2 mounts"},
	} {
		a, err := FindActive(t.Context(), mountsOf{mounts: c.mounts, kind: snapshots.KindActive}, "key")
		if c.no != "" {
			if !errors.Is(err, ErrNoLayers) || !strings.Contains(err.Error(), c.no) {
				t.Errorf("%s: %+v, error %v, want %q in it", c.name, a, err, c.no)
			}
			continue
		}
		if err != nil || !slices.Equal(a.Dirs, c.want) || a.Parent != "sha256:parent" {
			t.Errorf("%s: %+v, %v", c.name, a, err)
		}
	}
	if _, err := FindActive(t.Context(), mountsOf{mounts: bind, kind: snapshots.KindCommitted}, "key"); !errors.Is(err, ErrNoLayers) {
		t.Errorf("a committed snapshot: %v", err)
	}
}
