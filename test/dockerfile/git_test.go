package dockerfile_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// repositories are git repositories below a directory, and a server of them.
type repositories struct {
	t   *testing.T
	dir string
	url string
}

// newRepositories serves them by git's own program; with a token, to those who have it.
func newRepositories(t *testing.T, token string) *repositories {
	t.Helper()
	harness.Check(t, harness.Installed("git", "git"))
	dir := t.TempDir()
	where, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(where)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	files := http.StripPrefix("/dumb", http.FileServer(http.Dir(dir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); token != "" && (user != "x-access-token" || given != token) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/dumb/") {
			files.ServeHTTP(w, r)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return &repositories{t, dir, server.URL}
}

func (r *repositories) git(in string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = filepath.Join(r.dir, in)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=a", "GIT_"+who+"_EMAIL=a@example.org", "GIT_"+who+"_DATE=1600000000 +0000")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files to a repository, and returns the commit.
func (r *repositories) commit(in string, files map[string]string) string {
	r.t.Helper()
	if _, err := os.Stat(filepath.Join(r.dir, in)); err != nil {
		if err := os.Mkdir(filepath.Join(r.dir, in), 0o755); err != nil {
			r.t.Fatal(err)
		}
		r.git(in, "init", "-q")
	}
	for name, text := range files {
		p := filepath.Join(r.dir, in, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git(in, "add", "-A")
	r.git(in, "commit", "-q", "-m", "m")
	return r.git(in, "rev-parse", "HEAD")
}

// publish makes bare copies that the server shows, as NAME.git.
func (r *repositories) publish(names ...string) {
	r.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(r.dir, name+".git")); err != nil {
			r.t.Fatal(err)
		}
		r.git("", "clone", "-q", "--bare", name, name+".git")
		r.git(name+".git", "update-server-info")
	}
}

// TestAddRepository: ADD of a repository has the files of the commit that is named,
// and is done again where that is another.
func TestAddRepository(t *testing.T) {
	f := embedded(t)
	r := newRepositories(t, "")
	r.commit("sub", map[string]string{"s": "sub"})
	first := r.commit("main", map[string]string{"a": "1", "dir/b": "b"})
	r.git("main", "tag", "-a", "-m", "t", "v1")
	r.publish("sub")
	r.git("main", "submodule", "add", "-q", "../sub.git", "mod")
	r.git("main", "commit", "-q", "-m", "s")
	second := r.commit("main", map[string]string{"a": "2"})
	r.publish("main")

	text := strings.ReplaceAll(`FROM scratch
ADD URL/main.git /main
ADD URL/main.git#v1 /tag
ADD URL/main.git?tag=v1&subdir=dir /query
ADD URL/main.git#`+first+`:dir /commit
ADD --checksum=`+second[:12]+` URL/main.git#main:mod /sub
ADD --keep-git-dir URL/main.git#v1 /kept
ADD URL/dumb/main.git#`+first+` /dumb
`, "URL", r.url)
	f.build(text)
	whole := map[string]string{".": "755 dir", "a": "644 1", "dir": "755 dir", "dir/b": "644 b"}
	f.want(f.files("built:1", "/tag"), whole)
	f.want(f.files("built:1", "/dumb"), whole)
	for _, dir := range []string{"/query", "/commit"} {
		f.want(f.files("built:1", dir), map[string]string{".": "755 dir", "b": "644 b"})
	}
	f.want(f.files("built:1", "/sub"), map[string]string{".": "755 dir", "s": "644 sub"})
	main := f.files("built:1", "/main")
	if main["a"] != "644 2" || main["mod/s"] != "644 sub" || main["mod/.git"] != "" {
		t.Errorf("main: %q", main)
	}
	kept := f.files("built:1", "/kept")
	if kept["a"] != "644 1" || !strings.Contains(kept[".git/HEAD"], first) || !strings.Contains(kept[".git/config"], r.url+"/main.git") {
		t.Errorf("kept: HEAD %q, config %q", kept[".git/HEAD"], kept[".git/config"])
	}
	if _, w := f.build(text); len(w.ran) > 0 {
		t.Errorf("again, done: %q", w.ran)
	}
	r.commit("main", map[string]string{"a": "3"})
	r.publish("main")
	text = strings.Replace(text, "--checksum="+second[:12], "", 1)
	if _, w := f.build(text); !w.ranStep("/main.git /main") || !slices.ContainsFunc(w.cached, func(s string) bool { return strings.Contains(s, "v1 /tag") }) {
		t.Errorf("after a commit, done: %q", w.ran)
	}
	for text, word := range map[string]string{
		"ADD --checksum=abcdef URL/main.git /": "expected checksum to match abcdef",
		"ADD URL/main.git#none /":              "does not contain ref none",
		"ADD URL/none.git /":                   "none.git",
		"ADD URL/main.git#main:none /":         "none",
		"ADD URL/main.git#main:a /":            "no directory",
		"ADD git@127.0.0.1:repository.git /":   "there is no such agent",
	} {
		if _, _, err := f.try("FROM scratch\n" + strings.ReplaceAll(text, "URL", r.url) + "\n"); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRepositoryContext: a repository is a build context, with the Dockerfile in it.
func TestRepositoryContext(t *testing.T) {
	f := embedded(t)
	r := newRepositories(t, "token")
	r.commit("app", map[string]string{"dir/Dockerfile": "FROM scratch\nCOPY . /app\n", "dir/file": "1", "dir/other/Dockerfile": "FROM scratch\nSYNC file /sync\n"})
	r.publish("app")
	from := func(name string) func(*veneer.DockerfileRequest) {
		return func(q *veneer.DockerfileRequest) {
			q.Repository, q.Context, q.Name = r.url+"/app.git#main:dir", "", name
			q.Process.Secrets = map[string]veneer.Secret{"GIT_AUTH_TOKEN": {Data: []byte("token\n")}}
		}
	}
	res, _ := f.build("", from(""), epoch)
	f.want(f.files("built:1", "/app"), map[string]string{".": "755 dir", "Dockerfile": "644 FROM scratch\nCOPY . /app\n", "file": "644 1", "other": "755 dir", "other/Dockerfile": "644 FROM scratch\nSYNC file /sync\n"})
	if again, w := f.build("", from(""), epoch); again.Digest != res.Digest || len(w.ran) > 0 {
		t.Errorf("again: %s, %s before; done: %q", again.Digest, res.Digest, w.ran)
	}
	f.build("", from("other/Dockerfile"))
	f.want(f.files("built:1", "/"), map[string]string{".": "755 dir", "sync": "644 1"})
	f.build("FROM scratch\nCOPY file /given\n", from(""))
	f.want(f.files("built:1", "/"), map[string]string{".": "755 dir", "given": "644 1"})
	_, _, err := f.try("", from(""), func(q *veneer.DockerfileRequest) {
		q.Process.Secrets = map[string]veneer.Secret{"GIT_AUTH_TOKEN": {Data: []byte("wrong-one")}}
	})
	if err == nil || strings.Contains(err.Error(), "wrong-one") {
		t.Errorf("with a wrong token: %v", err)
	}
}

// TestNamedContexts: what --build-context can name.
func TestNamedContexts(t *testing.T) {
	f := embedded(t)
	r := newRepositories(t, "")
	r.commit("repo", map[string]string{"in": "repository"})
	r.publish("repo")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("directory"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.write("in", "image")
	f.build("FROM scratch\nCOPY in /in\n", func(q *veneer.DockerfileRequest) { q.Tags = []string{"named:1"} })
	layout := filepath.Join(t.TempDir(), "layout")
	if err := os.Mkdir(layout, 0o755); err != nil {
		t.Fatal(err)
	}
	archive, err := os.Create(layout + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	f.write("in", "layout")
	f.build("FROM scratch\nCOPY in /in\n", func(q *veneer.DockerfileRequest) { q.Output = &veneer.DockerfileOutput{Image: archive} })
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive.Name(), "-C", layout).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.build(`FROM replaced:latest AS from
FROM scratch
COPY --from=from /in /replaced
COPY --from=dir in /dir
COPY --from=image in /image
COPY --from=layout in /layout
COPY --from=repo in /repo
COPY --from=file context /file
`, func(q *veneer.DockerfileRequest) {
		q.Contexts = map[string]string{
			"dir": dir, "image": "docker-image://named:1", "layout": "oci-layout://" + layout, "repo": r.url + "/repo.git",
			"file": r.url + "/dumb/repo/in", "replaced": "oci-layout://" + layout + ":1",
		}
	})
	f.want(f.files("built:1", "/"), map[string]string{
		".": "755 dir", "replaced": "644 layout", "dir": "644 directory", "image": "644 image", "layout": "644 layout", "repo": "644 repository", "file": "600 repository",
	})
}
