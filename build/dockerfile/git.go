package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/moby/buildkit/util/urlutil"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/snapshot"
)

// repository is what a git source names, and how it is to be checked out.
type repository struct {
	remote, ref, subdir, checksum string
	// keepGit keeps the directory .git, noSubmodules leaves out submodules, and
	// commitTimes gives all files the time of the commit.
	keepGit, noSubmodules, commitTimes bool
	// byCommit: the checksum is what to fetch, whatever the ref is now.
	byCommit bool
	// token and header are the names of secrets, and agent that of an SSH agent.
	token, header, agent string
	knownHosts           string
}

// parseRepository reads a git source. Only what a transport of git's own can fetch
// is taken: git knows others that run programs of this host, such as ext::.
func parseRepository(op *pb.SourceOp) (*repository, error) {
	r := &repository{}
	text := strings.TrimPrefix(op.Identifier, "git://")
	if !gitutil.IsGitTransport(text) {
		text = "https://" + text
	}
	u, err := gitutil.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("read the repository's URL: %w", err)
	}
	if r.remote = u.Remote; u.Opts != nil {
		r.ref, r.subdir = u.Opts.Ref, u.Opts.Subdir
	}
	for name, value := range op.Attrs {
		if !r.option(name, value) {
			return nil, fmt.Errorf("the option %s of a repository is not supported", name)
		}
	}
	r.subdir = strings.TrimPrefix(path.Clean("/"+r.subdir), "/")
	// As BuildKit does: a part of a repository is no repository.
	r.keepGit = r.keepGit && r.subdir == ""
	return r, r.check()
}

// option takes an attribute of the source, and reports whether there is such a one.
func (r *repository) option(name, value string) bool {
	switch name {
	case pb.AttrFullRemoteURL:
		r.remote = value
	case pb.AttrGitChecksum:
		r.checksum = strings.ToLower(value)
	case pb.AttrKeepGitDir:
		r.keepGit = value == "true"
	case pb.AttrGitSkipSubmodules:
		r.noSubmodules = value == "true"
	case pb.AttrGitMTime:
		r.commitTimes = value == "commit"
	case pb.AttrGitFetchByCommit:
		r.byCommit = value == "true"
	case pb.AttrAuthTokenSecret:
		r.token = value
	case pb.AttrAuthHeaderSecret:
		r.header = value
	case pb.AttrMountSSHSock:
		r.agent = value
	case pb.AttrKnownSSHHosts:
		r.knownHosts = value
	case pb.AttrGitAdvice:
	default:
		return false
	}
	return true
}

func (r *repository) check() error {
	u, err := gitutil.ParseURL(r.remote)
	switch {
	case err != nil:
		return fmt.Errorf("read the repository's URL: %w", err)
	case strings.Contains(r.remote, "::") || strings.HasPrefix(r.remote, "-") || u.Host == "" || strings.HasPrefix(u.Host, "-"):
		return fmt.Errorf("repository %s: git is to use https, http, ssh or its own protocol alone", r.name())
	case strings.HasPrefix(r.ref, "-") || strings.ContainsAny(r.ref, ": \n"):
		return fmt.Errorf("repository %s: %q names no branch, tag or commit", r.name(), r.ref)
	case strings.Trim(r.checksum, "0123456789abcdef") != "":
		return fmt.Errorf("repository %s: invalid checksum %q, expected hex commit hash", r.name(), r.checksum)
	case r.byCommit && !gitutil.IsCommitSHA(r.ref) && !gitutil.IsCommitSHA(r.checksum):
		return fmt.Errorf("repository %s: to be fetched by its commit it needs the whole commit as the checksum", r.name())
	}
	return nil
}

// name is what messages call it: without a password.
func (r *repository) name() string { return urlutil.RedactCredentials(r.remote) }

// git is a repository as a source: a build context, or one of ADD. What is checked
// out of a commit is kept as a step is.
func (s *solver) git(ctx context.Context, v *vertex, op *pb.SourceOp) (_ *state, err error) {
	r, err := parseRepository(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name(), err)
	}
	if r.name() != r.remote && !strings.HasPrefix(v.name(), "[internal]") {
		s.Watch.Warn(fmt.Sprintf("ADD %s: its password stays in the image's history; use the secret GIT_AUTH_TOKEN", r.name()))
	}
	p := s.start(v, strings.ReplaceAll(v.name(), r.remote, r.name()))
	cached := false
	defer func() { p.end(cached, err) }()
	var m *graph.Made
	err = s.withGit(ctx, r, func(g *gitRun) error {
		at, err := s.resolveGit(ctx, g)
		if err != nil {
			return err
		}
		key := r.key(at)
		m, err = s.cache.Lookup(ctx, key, false)
		if cached = m != nil; err != nil || cached {
			return err
		}
		if m, err = s.checkOut(ctx, g, at); err != nil {
			return err
		}
		return s.cache.Keep(ctx, key, *m)
	})
	if err != nil {
		return nil, err
	}
	return scratch().next(m), nil
}

// withGit calls do with git for a repository, in a directory that is gone afterwards.
func (s *solver) withGit(ctx context.Context, r *repository, do func(*gitRun) error) (err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return &fault.Error{Kind: ErrNoGit, Op: "fetch repository", Ref: r.name()}
	}
	// A later prune finds the directory of a killed process there.
	dir, remove, err := snapshot.TempStores()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	g, err := s.newGit(ctx, r, dir)
	defer func() { err = errors.Join(err, g.close()) }()
	if err == nil {
		err = do(g)
	}
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.name(), err)
	}
	return nil
}

// key is of the commit and of what is checked out of it. Where the repository is
// comes into it only if that is a part of the files.
func (r *repository) key(at revision) graph.Key {
	h := graph.NewHash("git 1")
	h.AddString(at.commit)
	h.AddString(r.subdir)
	h.AddString(fmt.Sprint(r.keepGit, r.noSubmodules, r.commitTimes))
	if r.keepGit {
		h.AddString(at.object)
		h.AddString(at.ref)
		h.AddString(r.name())
	}
	return h.Key()
}

// resolveGit finds the commit of a repository's ref, once for a build: the
// Dockerfile and the context are to be of one.
func (s *solver) resolveGit(ctx context.Context, g *gitRun) (revision, error) {
	s.gitRefs.Lock()
	defer s.gitRefs.Unlock()
	name := fmt.Sprintf("%s#%s %s %t", g.remote, g.ref, g.checksum, g.byCommit)
	if at, known := s.revisions[name]; known {
		return at, nil
	}
	at, err := g.resolve(ctx)
	if err == nil {
		s.revisions[name] = at
	}
	return at, err
}

// checkOut makes a snapshot of the files of a commit.
func (s *solver) checkOut(ctx context.Context, g *gitRun, at revision) (_ *graph.Made, err error) {
	files, err := g.checkOut(ctx, at)
	if err != nil {
		return nil, err
	}
	l, err := disk.OpenLocal(files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	f := &filter{disown: true}
	if g.commitTimes {
		if f.mtime, err = g.commitTime(ctx, at); err != nil {
			return nil, err
		}
	}
	return s.snapshotOf(ctx, differ.Target{Op: differ.Copy, Name: "the repository", Source: filtered{l, f}, Dest: "/", Owner: differ.OwnerSource}, false)
}

// subdirectory returns a directory of a checkout that no link leads to.
func subdirectory(files, sub string) (string, error) {
	root, err := os.OpenRoot(files)
	if err != nil {
		return "", err
	}
	defer root.Close()
	at := "."
	for part := range strings.SplitSeq(sub, "/") {
		at = filepath.Join(at, part)
		st, err := root.Lstat(at)
		if err != nil {
			return "", fmt.Errorf("directory %s: %w", sub, err)
		}
		if !st.IsDir() {
			return "", fmt.Errorf("directory %s: %s is no directory", sub, at)
		}
	}
	return filepath.Join(files, at), nil
}
