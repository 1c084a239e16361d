package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/util/gitutil"
)

// revision is what a ref is at the time.
type revision struct {
	// ref is its full name; empty: it was named by its commit. object is what it
	// points to, which is the commit or an annotated tag of it.
	ref, object, commit string
}

// symref is the line of ls-remote --symref that says what HEAD is.
var symref = regexp.MustCompile(`(?m)^ref: (refs/\S+)\tHEAD$`)

// resolve asks the remote what the ref is.
func (g *gitRun) resolve(ctx context.Context) (at revision, err error) {
	ref := g.ref
	if g.byCommit && !gitutil.IsCommitSHA(ref) {
		ref = g.checksum
	}
	if gitutil.IsCommitSHA(ref) {
		return revision{object: ref, commit: ref}, g.sum(ref, ref)
	}
	if ref == "" {
		out, err := g.run(ctx, "ls-remote", "--symref", "--", g.remote, "HEAD")
		if err != nil {
			return at, fmt.Errorf("find its default branch: %w", err)
		}
		found := symref.FindSubmatch(out)
		if found == nil {
			return at, errors.New("it has no default branch: name one after #")
		}
		ref = string(found[1])
	}
	out, err := g.run(ctx, "ls-remote", "--", g.remote, ref, ref+"^{}")
	if err != nil {
		return at, fmt.Errorf("look for %s: %w", ref, err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(out)) {
		object, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		listed[name] = object
	}
	// Git prefers branches to tags of the same name.
	for _, name := range []string{"refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + ref, "refs/tags/" + ref} {
		object := listed[name]
		if object == "" {
			continue
		}
		at = revision{ref: name, object: object, commit: object}
		if c := listed[name+"^{}"]; c != "" {
			at.commit = c
		}
		if !gitutil.IsCommitSHA(at.object) || !gitutil.IsCommitSHA(at.commit) {
			return at, fmt.Errorf("look for %s: the answer %q is not understood", ref, at)
		}
		return at, g.sum(at.object, at.commit)
	}
	return at, fmt.Errorf("repository does not contain ref %s, as a branch or tag", ref)
}

// sum checks a checksum, which may be the beginning of one.
func (g *gitRun) sum(object, commit string) error {
	if strings.HasPrefix(object, g.checksum) || strings.HasPrefix(commit, g.checksum) {
		return nil
	}
	return fmt.Errorf("expected checksum to match %s, got %s", g.checksum, commit)
}

// commitTime is when a commit was made, in seconds.
func (g *gitRun) commitTime(ctx context.Context, at revision) (*int64, error) {
	out, err := g.run(ctx, "log", "-1", "--format=%ct", at.commit+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("read the time of commit %s: %w", at.commit, err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return &seconds, err
}

// within returns a context that ends with what goes beyond the bounds.
func (g *gitRun) within(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxGitTime, fmt.Errorf("it takes longer than %s", maxGitTime))
	ctx, tooMuch := context.WithCancelCause(ctx)
	go watchSize(ctx, g.dir, tooMuch)
	return ctx, func() {
		tooMuch(nil)
		cancel()
	}
}

// objects fetches a commit and returns its text, and that of the annotated tag that
// leads to it; nil: there is none.
func (g *gitRun) objects(ctx context.Context, at revision) (commit, tag []byte, err error) {
	ctx, end := g.within(ctx)
	defer end()
	g.cli = g.cli.New(gitutil.WithGitDir(filepath.Join(g.dir, "repository")))
	if err := g.fetch(ctx, at); err != nil {
		return nil, nil, err
	}
	if at.object != at.commit {
		if tag, err = g.run(ctx, "cat-file", "tag", at.object); err != nil {
			return nil, nil, fmt.Errorf("read tag %s: %w", at.object, err)
		}
	}
	if commit, err = g.run(ctx, "cat-file", "commit", at.commit+"^{commit}"); err != nil {
		return nil, nil, fmt.Errorf("read commit %s: %w", at.commit, err)
	}
	return commit, tag, nil
}

// checkOut fetches a commit and returns the directory that has its files.
func (g *gitRun) checkOut(ctx context.Context, at revision) (_ string, err error) {
	ctx, end := g.within(ctx)
	defer end()
	files, repo := filepath.Join(g.dir, "files"), filepath.Join(g.dir, "repository")
	if g.keepGit {
		repo = filepath.Join(files, ".git")
	}
	if err := os.Mkdir(files, 0o755); err != nil {
		return "", err
	}
	g.cli = g.cli.New(gitutil.WithGitDir(repo), gitutil.WithWorkTree(files), gitutil.WithDir(files))
	if err := g.fetch(ctx, at); err != nil {
		return "", err
	}
	how := []string{"checkout", "--no-overlay", at.object, "--", "."}
	if g.keepGit {
		how = []string{"checkout", "--detach", at.object}
	}
	if _, err := g.run(ctx, how...); err != nil {
		return "", fmt.Errorf("check out %s: %w", at.commit, err)
	}
	if !g.noSubmodules {
		if _, err := g.run(ctx, "submodule", "update", "--init", "--recursive", "--depth=1"); err != nil {
			return "", fmt.Errorf("fetch its submodules: %w", err)
		}
	}
	if err := g.tidy(ctx, files, repo); err != nil {
		return "", err
	}
	if g.subdir == "" {
		return files, nil
	}
	return subdirectory(files, g.subdir)
}

// fetch fetches a commit: alone where the server can give that, else with all that
// leads to it.
func (g *gitRun) fetch(ctx context.Context, at revision) error {
	first := []string{"init"}
	if len(at.object) == 64 {
		first = append(first, "--object-format=sha256")
	}
	if _, err := g.run(ctx, first...); err != nil {
		return err
	}
	if _, err := g.run(ctx, "remote", "add", "origin", g.remote); err != nil {
		return err
	}
	want := at.object
	if at.ref != "" {
		want = at.ref + ":" + at.ref
	}
	_, err := g.run(ctx, "fetch", "--depth=1", "--no-tags", "--update-head-ok", "--force", "origin", want)
	if err == nil || at.ref == "" {
		if _, gone := g.run(ctx, "cat-file", "-e", at.object); gone == nil {
			return nil
		}
		all := []string{"fetch", "--tags", "--update-head-ok"}
		if shallow, bad := g.run(ctx, "rev-parse", "--is-shallow-repository"); bad == nil && strings.TrimSpace(string(shallow)) == "true" {
			all = append(all, "--unshallow")
		}
		if _, err = g.run(ctx, append(all, "origin")...); err == nil {
			_, err = g.run(ctx, "cat-file", "-e", at.object)
		}
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", at.commit, err)
	}
	return nil
}

// tidy removes what tells of this host and of the time.
func (g *gitRun) tidy(ctx context.Context, files, repo string) error {
	if g.keepGit {
		for _, args := range [][]string{{"remote", "set-url", "origin", g.name()}, {"reflog", "expire", "--all", "--expire=now"}} {
			if _, err := g.run(ctx, args...); err != nil {
				return err
			}
		}
		if err := os.Remove(filepath.Join(repo, "FETCH_HEAD")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	// A submodule's file .git says where its repository is, which is not kept.
	return filepath.WalkDir(files, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" && !d.IsDir() {
			return os.Remove(p)
		}
		return err
	})
}

// watchSize ends what fills a directory beyond the bounds. It looks at most for a
// tenth of the time.
func watchSize(ctx context.Context, dir string, tooMuch context.CancelCauseFunc) {
	for pause := time.Second; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		var bytes int64
		files := 0
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || ctx.Err() != nil {
				return ctx.Err() // What is gone again takes no space.
			}
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
			if files++; bytes > maxGitBytes || files > maxGitFiles {
				tooMuch(fmt.Errorf("it is larger than %d bytes or %d files", int64(maxGitBytes), maxGitFiles))
				return fs.SkipAll
			}
			return nil
		})
		pause = max(time.Second, 10*time.Since(began))
	}
}
