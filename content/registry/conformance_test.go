package registry_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// Each oddity by itself: a pull and a push end as they are to, all that arrived
// is right, and nothing else is left.
func TestOddities(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(oddities)) {
		row := oddities[name]
		t.Run(name, func(t *testing.T) {
			for _, with := range []bool{false, true} {
				if row.login != eitherWay && with != (row.login == withLogin) {
					continue
				}
				switch {
				case row.mirror:
					pullByMirror(t, name)
					continue
				case row.pull != "-":
					pullOdd(t, name, with)
				}
				if row.push != "-" {
					pushOdd(t, name, with)
				}
			}
		})
	}
}

func TestNoOddity(t *testing.T) {
	o := newOdd(t, "")
	pullFrom(t, o, oddity{}, oddOptions(t, o, false))
	pushTo(t, o, oddity{}, oddOptions(t, o, false))
	pushTo(t, o, oddity{mount: true}, oddOptions(t, o, false))
	if n := o.count("PUT", "/blobs/"); n != 3 {
		t.Errorf("%d blobs were sent, want 3 once", n)
	}
}

func pullOdd(t *testing.T, name string, login bool) {
	t.Helper()
	o := newOdd(t, name)
	pullFrom(t, o, oddities[name], oddOptions(t, o, login))
	if check := oddities[name].check; check != nil {
		check(t, o)
	}
}

func pushOdd(t *testing.T, name string, login bool) {
	t.Helper()
	o := newOdd(t, name)
	pushTo(t, o, oddities[name], oddOptions(t, o, login))
	if check := oddities[name].check; check != nil {
		check(t, o)
	}
}

func oddOptions(t *testing.T, o *odd, login bool) registry.Options {
	t.Helper()
	opts := options(t)
	opts.Stall = 300 * time.Millisecond
	if login {
		auth := base64.StdEncoding.EncodeToString([]byte(loginName + ":" + loginSecret))
		write(t, filepath.Join(opts.DockerConfig, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, o.host, auth), 0o600)
	}
	return opts
}

func oddImage() storetest.Image { return storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}}) }

func pullFrom(t *testing.T, o *odd, row oddity, opts registry.Options) {
	t.Helper()
	img := oddImage()
	o.load("team/app", img)
	ctx, store := storetest.Open(t)
	got, err := registry.Pull(ctx, store.Client, o.host+"/team/app:1", opts)
	if !ended(t, "pull", err, row.pull) {
		checkNothingLeft(ctx, t, store)
		if row.pull == otherContent && (!errors.Is(err, registry.ErrOtherContent) || !strings.Contains(err.Error(), "http://"+o.host+" sent it") || !strings.Contains(err.Error(), "sha256:")) {
			t.Errorf("it does not say what is wrong with which blob of which host: %v", err)
		}
		return
	}
	checkNothingOpen(ctx, t, store)
	if got.Target.Digest != img.Manifest.Digest || got.Target.MediaType != img.Manifest.MediaType {
		t.Errorf("pulled %+v", got.Target)
	}
	blobs := store.Blobs(ctx, t)
	for _, b := range img.Blobs() {
		if _, ok := blobs[b.Digest]; !ok {
			t.Errorf("%s was not pulled", b.MediaType)
		}
	}
}

func pushTo(t *testing.T, o *odd, row oddity, opts registry.Options) {
	t.Helper()
	img := oddImage()
	ctx, store := storetest.Open(t)
	name, repo := o.host+"/team/new:1", "team/new"
	stored(ctx, t, store, img, name)
	if row.mount {
		name, repo = o.host+"/other/app:1", "other/app"
		store.Name(ctx, t, name, img.Manifest.Descriptor)
		o.load("team/app", img)
		for _, b := range img.Blobs() {
			label := map[string]string{"containerd.io/distribution.source." + strings.Split(o.host, ":")[0]: "team/app"}
			if err := content.SetLabels(ctx, store.ContentStore(), b.Digest, label); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := registry.Push(ctx, store.Client, name, opts)
	checkNothingOpen(ctx, t, store)
	lacks := o.lacks(repo, "1", img)
	switch {
	case !ended(t, "push", err, row.push):
	case lacks != "":
		t.Errorf("the registry lacks the %s", lacks)
	case row.mount && o.count("POST", "mount=") == 0:
		t.Error("no mount was tried")
	}
}

// ended reports whether it succeeded, and fails the test if it should have
// ended otherwise.
func ended(t *testing.T, verb string, err error, want string) bool {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", verb, err, want)
	}
	return err == nil
}

// pullByMirror pulls what a mirror with an oddity and the registry behind it
// have; and then fails with the registry's error where that refuses.
func pullByMirror(t *testing.T, name string) {
	t.Helper()
	mirror, behind := newOdd(t, name), newOdd(t, "")
	refusing := newOdd(t, "push-only")
	img := oddImage()
	mirror.load("app", img)
	behind.load("app", img)
	opts := oddOptions(t, behind, false)
	dir := t.TempDir()
	opts.HostsDirs = []string{dir}
	settings := func(server string) {
		write(t, filepath.Join(dir, "registry.invalid", "hosts.toml"), fmt.Sprintf(
			"server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", server, mirror.URL), 0o600)
	}
	settings(behind.URL)
	ctx, store := storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, "registry.invalid/app:1", opts); err != nil {
		t.Error(err)
	}
	checkNothingOpen(ctx, t, store)
	if mirror.count("ns=registry.invalid") == 0 || behind.count("GET") == 0 {
		t.Errorf("the mirror was asked %d times, the registry %d times", mirror.count("GET"), behind.count("GET"))
	}
	settings(refusing.URL)
	ctx, store = storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, "registry.invalid/app:1", opts); err == nil {
		t.Error("pulled from nowhere")
	}
	checkNothingLeft(ctx, t, store)
}

// docs/registries.md says of each oddity that is tested what becomes of it,
// and of no other.
func TestOdditiesAreDocumented(t *testing.T) {
	const doc = "../../docs/registries.md"
	data, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, cell := range regexp.MustCompile("(?m)^\\| (`[a-z][^|]*`) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(data), -1) {
		for _, name := range strings.Split(cell[1], ", ") {
			rows = append(rows, strings.Trim(name, "`"))
		}
	}
	slices.Sort(rows)
	want := slices.Sorted(maps.Keys(oddities))
	want = append(want, slices.Collect(maps.Keys(referring))...)
	slices.Sort(want)
	if !slices.Equal(rows, want) {
		t.Errorf("%s has rows %q,\nthe tests have %q", doc, rows, want)
	}
}

// What a tag may have (distribution-spec, "Pulling manifests") comes through.
func TestTagCharacters(t *testing.T) {
	o := newOdd(t, "")
	img := oddImage()
	for _, tag := range []string{"_", "1.0-rc.1", "V1.0_a-b..c--", "latest_", strings.Repeat("x", 128)} {
		ctx, store := storetest.Open(t)
		name := o.host + "/team/a__b/c-d.e:" + tag
		stored(ctx, t, store, img, name)
		if _, err := registry.Push(ctx, store.Client, name, options(t)); err != nil {
			t.Error(err)
			continue
		}
		if lacks := o.lacks("team/a__b/c-d.e", tag, img); lacks != "" {
			t.Errorf("%s: the registry lacks the %s", tag, lacks)
		}
		ctx, store = storetest.Open(t)
		if _, err := registry.Pull(ctx, store.Client, name, options(t)); err != nil {
			t.Error(err)
		}
	}
}
