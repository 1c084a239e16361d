package content_test

import (
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/veneer-build/veneer/content"
)

func TestFilter(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	yes, no := true, false
	digested := "docker.io/library/app@sha256:" + hex
	for name, c := range map[string]struct {
		filter content.Filter
		image  string
		want   bool
	}{
		"everything":            {content.Filter{}, "docker.io/library/app:1", true},
		"short name":            {content.Filter{References: []string{"app"}}, "docker.io/library/app:1", true},
		"short name and tag":    {content.Filter{References: []string{"app:1"}}, "docker.io/library/app:1", true},
		"another tag":           {content.Filter{References: []string{"app:2"}}, "docker.io/library/app:1", false},
		"long name":             {content.Filter{References: []string{"docker.io/library/app"}}, "docker.io/library/app:1", true},
		"stars end at slashes":  {content.Filter{References: []string{"ghcr.io/*"}}, "ghcr.io/team/app:1", false},
		"stars":                 {content.Filter{References: []string{"ghcr.io/*/a*"}}, "ghcr.io/team/app:1", true},
		"one of several":        {content.Filter{References: []string{"x", "app"}}, "docker.io/library/app:1", true},
		"no reference":          {content.Filter{References: []string{"Odd Name"}}, "Odd Name", true},
		"label":                 {content.Filter{Labels: []string{"team"}}, "app", true},
		"label and value":       {content.Filter{Labels: []string{"team=web", "empty="}}, "app", true},
		"another value":         {content.Filter{Labels: []string{"team=db"}}, "app", false},
		"no such label":         {content.Filter{Labels: []string{"team", "owner"}}, "app", false},
		"before":                {content.Filter{Before: at(13)}, "app", true},
		"not before itself":     {content.Filter{Before: at(12)}, "app", false},
		"since":                 {content.Filter{Since: at(11)}, "app", true},
		"not since itself":      {content.Filter{Since: at(12)}, "app", false},
		"dangling":              {content.Filter{Dangling: &yes}, digested, true},
		"not dangling":          {content.Filter{Dangling: &yes}, "docker.io/library/app:1", false},
		"dangling is unwanted":  {content.Filter{Dangling: &no}, digested, false},
		"tagged as is wanted":   {content.Filter{Dangling: &no}, "docker.io/library/app:1", true},
		"all of them must hold": {content.Filter{References: []string{"app"}, Labels: []string{"owner"}}, "docker.io/library/app:1", false},
	} {
		l := content.Listed{Record: images.Image{Name: c.image}, Created: at(12), Labels: map[string]string{"team": "web", "empty": ""}}
		if got := c.filter.Takes(&l); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := (&content.Filter{References: []string{"a", "[b"}}).Check(); err == nil {
		t.Error("a broken pattern is taken")
	}
}

func TestSplitName(t *testing.T) {
	for name, want := range map[string][2]string{
		"docker.io/library/app:1":   {"app", "1"},
		"docker.io/team/app:1":      {"team/app", "1"},
		"localhost:5000/app:1":      {"localhost:5000/app", "1"},
		"docker.io/library/app":     {"app", ""},
		"not a name\n":              {"not a name\n", ""},
		"ghcr.io/a/b@sha256:" + hex: {"ghcr.io/a/b", ""},
	} {
		if r, tag := content.SplitName(name); r != want[0] || tag != want[1] {
			t.Errorf("%q: %q, %q", name, r, tag)
		}
	}
}

const hex = "1111111111111111111111111111111111111111111111111111111111111111"
