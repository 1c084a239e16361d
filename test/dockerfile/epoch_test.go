package dockerfile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
)

// TestEpochOfDockerfile: a Dockerfile and a build argument say SOURCE_DATE_EPOCH as well,
// also as the time of a source. It bounds the times, so that the digest does not depend
// on when the files were written.
func TestEpochOfDockerfile(t *testing.T) {
	f := embedded(t)
	r := newRepositories(t, "")
	r.commit("app", map[string]string{"file": "1"}) // at 1600000000
	r.publish("app")
	modified := time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(filepath.Join(r.dir, "app", "file"), modified, modified); err != nil {
		t.Fatal(err)
	}
	f.write("base", "base")
	f.build("FROM scratch\nCOPY base /\n", epoch, func(q *veneer.DockerfileRequest) { q.Tags = []string{"base:1"} })
	arg := func(value string) func(*veneer.DockerfileRequest) {
		return func(q *veneer.DockerfileRequest) { q.Args = map[string]string{"SOURCE_DATE_EPOCH": value} }
	}
	repository := func(q *veneer.DockerfileRequest) { q.Repository, q.Context = r.url+"/app.git#main", "" }
	const plain = "FROM scratch\nCOPY file /\n"
	for name, c := range map[string]struct {
		text string
		edit func(*veneer.DockerfileRequest)
		want int64
	}{
		"the Dockerfile": {"ARG SOURCE_DATE_EPOCH=5\n" + plain, func(*veneer.DockerfileRequest) {}, 5},
		"an argument":    {"ARG SOURCE_DATE_EPOCH=5\n" + plain, arg("6"), 6},
		"the option":     {"ARG SOURCE_DATE_EPOCH=5\n" + plain, epoch, 1_700_000_000},
		"onto":           {"ARG SOURCE_DATE_EPOCH=5\n" + plain, func(q *veneer.DockerfileRequest) { q.Onto = "base:1" }, 5},
		"the context": {plain, func(q *veneer.DockerfileRequest) {
			arg("context")(q)
			repository(q)
		}, 1_600_000_000},
		"a stage":      {"ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD " + r.url + "/dumb/app/file /\n" + plain, func(*veneer.DockerfileRequest) {}, 1_500_000_000},
		"a repository": {"ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD " + r.url + "/app.git#main /\n" + plain, func(*veneer.DockerfileRequest) {}, 1_600_000_000},
	} {
		f.write("file", "1")
		first, _ := f.build(c.text, c.edit)
		img, err := content.Resolve(f.ctx, f.Client, "built:1", "")
		if err != nil {
			t.Fatal(err)
		}
		if img.Config.Created == nil || img.Config.Created.Unix() != c.want {
			t.Errorf("%s: made at %v, want %d", name, img.Config.Created, c.want)
		}
		// Beyond the bound: times up to it are in the layer.
		if err := os.Chtimes(filepath.Join(f.dir, "file"), modified, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if again, _ := f.build(c.text, c.edit, func(q *veneer.DockerfileRequest) { q.NoCache = true }); again.Digest != first.Digest {
			t.Errorf("%s: %s, and %s again", name, first.Digest, again.Digest)
		}
	}
}
