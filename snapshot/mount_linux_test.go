package snapshot

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

func TestMountableEditsACopy(t *testing.T) {
	given := func() []mount.Mount {
		return []mount.Mount{
			{Type: "overlay", Source: "overlay", Options: append(make([]string, 0, 16), "volatile", "lowerdir=/a:/b", "upperdir=/u", "fsync=volatile")},
			{Type: "bind", Source: "/s", Options: append(make([]string, 0, 16), "ro", "rbind")},
			{Type: "fuse3.x", Source: "/f", Options: []string{"o"}},
		}
	}
	in := given()
	got, err := mountable(in)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, given()) {
		t.Errorf("the caller's mounts became %v", in)
	}
	for _, m := range in {
		if spare := m.Options[len(m.Options):cap(m.Options)]; strings.Join(spare, "") != "" {
			t.Errorf("the caller's slice was appended to: %q", spare)
		}
	}
	want := []mount.Mount{
		{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=/a:/b", "upperdir=/u", "nosuid", "nodev", "noexec"}},
		{Type: "bind", Source: "/s", Options: []string{"ro", "rbind", "nosuid", "nodev", "noexec"}},
		{Type: "fuse3.x", Source: "/f", Options: []string{"o"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestMountableRefusesIDMaps(t *testing.T) {
	for _, o := range []string{"uidmap=0:100000:65536", "gidmap=0:100000:65536"} {
		_, err := mountable([]mount.Mount{{Type: "overlay", Options: []string{"lowerdir=/a", o}}})
		if err == nil || !strings.Contains(err.Error(), o) {
			t.Errorf("%s: %v", o, err)
		}
	}
}

func TestMountableRefusesTheDaemonsTypes(t *testing.T) {
	for _, kind := range []string{"format/mkdir/overlay", "mkfs/ext4", "format/mkdir/bind"} {
		_, err := mountable([]mount.Mount{{Type: "erofs", Source: "/layer"}, {Type: kind, Source: "overlay", Options: []string{"lowerdir={{ overlay 0 1 }}"}}})
		if err == nil || !strings.Contains(err.Error(), kind) || !errors.Is(err, ErrCannotMount) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
