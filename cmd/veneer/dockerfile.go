package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// dockerfileFlags are the flags of build that only the build of a Dockerfile has.
type dockerfileFlags struct {
	file, target, network, onto string
	args, labels                []string
	secrets, ssh                []string
	contexts, hosts, allow      []string
	ulimits, noCacheStages      []string
	shmSize                     string
	pull, check                 bool
	output                      oneOutput
	load                        bool
	caches                      []string
}

// dockerfileOnly and fromOnly are the flags of build that only one of its two ways
// has.
func dockerfileOnly() []string {
	return []string{
		"file", "build-arg", "target", "secret", "ssh", "pull", "network", "add-host", "check", "output", "onto",
		"build-context", "allow", "ulimit", "shm-size", "no-cache-filter", "cache-to", "cache-from", "load",
	}
}

func fromOnly() []string {
	return []string{
		"copy", "sync", "delete", "compare", "reader", "force-delete", "change", "env", "unset", "author", "message",
		"no-unpack", "differ",
	}
}

func (f *dockerfileFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "the Dockerfile; - is standard input (default Dockerfile in PATH)")
	fs.StringArrayVar(&f.args, "build-arg", nil, "a Dockerfile's ARG, `NAME=VALUE`, or NAME for that of the environment (repeatable)")
	fs.StringVar(&f.target, "target", "", "`stage` of the Dockerfile to build (default the last)")
	fs.StringArrayVar(&f.secrets, "secret", nil, "a secret for RUN --mount=type=secret, `id=ID[,src=FILE|,env=NAME]` (repeatable)")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "an agent or keys for RUN --mount=type=ssh and for repositories, `default|ID[=SOCKET|KEY]` (repeatable)")
	fs.BoolVar(&f.pull, "pull", false, "ask registries for the Dockerfile's images that are here already, too")
	fs.StringVar(&f.network, "network", "", "network of RUN, a `word`: default, none or host")
	fs.StringArrayVar(&f.hosts, "add-host", nil, "a host that RUN knows, `NAME:IP` (repeatable)")
	fs.BoolVar(&f.check, "check", false, "look at the Dockerfile and build nothing; exit code 1 if it is wrong")
	fs.VarP(&f.output, "output", "o", "where the Dockerfile's result goes instead: `type=local|tar|oci|docker,dest=PATH`; dest=- is standard output; or type=image|registry, with name=NAME and push=true, into the engine")
	fs.BoolVar(&f.load, "load", false, "of docker buildx: the image is stored in the engine, which it is without --output")
	fs.StringVar(&f.onto, "onto", "", "make the Dockerfile's result of this `image` and one layer, which holds what differs from it")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "what COPY --from=NAME and FROM NAME take, `NAME=CONTEXT`: a directory, docker-image://IMAGE, oci-layout://DIRECTORY[:TAG], a URL or a repository (repeatable)")
	fs.StringArrayVar(&f.allow, "allow", nil, "allow a RUN what it asks for, a `word`: network.host or security.insecure (repeatable)")
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, "a limit of RUN, `NAME=SOFT[:HARD]` (repeatable)")
	fs.StringVar(&f.shmSize, "shm-size", "", "`size` of /dev/shm in RUN, as in 64m")
	fs.StringArrayVar(&f.noCacheStages, "no-cache-filter", nil, "do the steps of a Dockerfile's `stage` again (repeatable)")
	for _, name := range []string{"cache-to", "cache-from"} {
		fs.StringArrayVar(&f.caches, name, nil, "of docker build, not supported: the `cache` is in the engine")
		fs.Lookup(name).Hidden = true
	}
}

// checkWay returns an error for flags that do not fit the way of the command line:
// --from, or a Dockerfile.
func checkWay(cmd *cobra.Command, from bool, args []string) error {
	given := func(names []string) string {
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				return n
			}
		}
		return ""
	}
	switch {
	case from && len(args) > 0:
		return usagef("--from builds from an image and the files of --copy and --sync, and takes no directory, but there is %q: leave out --from to build the Dockerfile there, or use --sync %[1]s:DEST", args[0])
	case from:
		if n := given(dockerfileOnly()); n != "" {
			return usagef("--%s is for building a Dockerfile, and --from builds without one: leave out one of them", n)
		}
	case len(args) == 0:
		return usagef("say what to build: a directory with a Dockerfile, as in veneer build ., or --from IMAGE with --copy and --sync")
	case len(args) > 1:
		return usagef("want one directory, or -, got %d arguments", len(args))
	default:
		if n := given(fromOnly()); n != "" {
			return usagef("--%s goes with --from, which builds without a Dockerfile: leave out one of them", n)
		}
	}
	return nil
}

// dockerfileRequest returns the request for the flags, but for what is read from the
// context, and the output that takes the place of the engine; nil: none does.
func (a *app) dockerfileRequest(f *dockerfileFlags, base *baseFlags, image *imageFlags, o *buildOptions) (req veneer.DockerfileRequest, out *outputFlag, err error) {
	req = veneer.DockerfileRequest{Reports: veneer.Reports{Log: a.log}, Onto: f.onto, Pull: f.pull}
	if len(f.caches) > 0 {
		return req, nil, usagef("--cache-to and --cache-from are not supported: steps stay in the engine, and their cache needs no place. For a machine that has none, pull the image of the last build and build --onto it")
	}
	var index []string
	image.annotations, index = takeIndex(image.annotations)
	f.labels = image.takeLabels()
	if req.IndexAnnotations, err = parseAnnotations(index); err != nil {
		return req, nil, err
	}
	if err := image.request(&req.ImageOptions, &req.LayerOptions, a.getenv); err != nil {
		return req, nil, err
	}
	if err := f.request(&req, base, a.getenv); err != nil {
		return req, nil, err
	}
	if req.MaxLayers, err = base.layersLimit(); err != nil {
		return req, nil, err
	}
	if f.onto == "" && base.maxLayers != veneer.DefaultMaxLayers {
		return req, nil, usagef("--max-layers is for the base of --from or --onto: leave it out")
	}
	if f.onto != "" {
		if err := checkRef(f.onto); err != nil {
			return req, nil, err
		}
	}
	if out, err = f.outputOf(&req, o); err != nil {
		return req, nil, err
	}
	req.Registry = veneer.RegistryOptions{PlainHTTP: o.push.PlainHTTP, HostsDirs: o.push.HostsDirs}
	return req, out, nil
}

// buildDockerfile builds the Dockerfile of a directory, or of standard input.
func (a *app) buildDockerfile(ctx context.Context, path string, f *dockerfileFlags, base *baseFlags, image *imageFlags, o buildOptions) (err error) {
	req, out, err := a.dockerfileRequest(f, base, image, &o)
	if err != nil {
		return err
	}
	closeContext, err := a.readContext(ctx, path, f.file, &req)
	if err != nil {
		return err
	}
	defer closeContext()
	if f.check {
		return a.checkDockerfile(ctx, req)
	}
	if o.quiet {
		a.beQuiet()
	}
	w, err := a.newStepPrinter(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	req.Watch = w
	if out != nil {
		return a.buildOutput(ctx, *out, req, o, w)
	}
	err = a.makeImage(ctx, o, req.Tags, func(ctx context.Context, e *veneer.Engine, _ veneer.Progress) (*veneer.Result, error) {
		defer w.close()
		return veneer.BuildDockerfile(ctx, e, req)
	})
	w.explain(err)
	return err
}

// request returns the request for the flags.
func (f *dockerfileFlags) request(r *veneer.DockerfileRequest, base *baseFlags, getenv func(string) (string, bool)) error {
	names := strings.Split(base.platform, ",")
	for i, name := range names {
		if strings.TrimSpace(name) == "local" { // docker build's word
			names[i] = platforms.Format(platforms.DefaultSpec())
		}
	}
	one, several, err := parsePlatforms(strings.Join(names, ","))
	if err != nil {
		return err
	}
	if base.platform == veneer.AllPlatforms {
		return usagef("--platform all: a Dockerfile is built for platforms that are named, as in linux/amd64,linux/arm64")
	}
	r.Platforms = several
	r.Platform, r.Target, r.NoCacheStages = one, f.target, slices.Concat(base.noCacheStages, f.noCacheStages)
	r.NoCache = base.noCache || len(r.NoCacheStages) > 0
	if base.noCache {
		r.NoCacheStages = nil
	}
	if r.Args, err = namedValues("--build-arg", f.args, getenv); err != nil {
		return err
	}
	if r.Labels, err = namedValues("--label", f.labels, emptyValue); err != nil {
		return err
	}
	if r.Contexts, err = namedValues("--build-context", f.contexts, nil); err != nil {
		return err
	}
	return f.process(&r.Process, getenv)
}

// process fills in the flags about RUN.
func (f *dockerfileFlags) process(p *veneer.ProcessOptions, getenv func(string) (string, bool)) error {
	switch f.network {
	case "", "none", "host":
		p.Network = f.network
	case "default", "sandbox":
	default:
		return usagef("--network %s: use default, none or host", f.network)
	}
	var err error
	if p.ExtraHosts, err = parseHosts(f.hosts); err != nil {
		return err
	}
	if err := f.allowed(p); err != nil {
		return err
	}
	p.Ulimits = f.ulimits
	if p.ShmSize, err = parseSize(f.shmSize); err != nil {
		return usagef("--shm-size %s: %w", f.shmSize, err)
	}
	if p.Secrets, err = parseSecrets(f.secrets, getenv); err != nil {
		return err
	}
	p.SSH, err = parseSSH(f.ssh, getenv)
	return err
}

// allowed reads what --allow grants to RUN.
func (f *dockerfileFlags) allowed(p *veneer.ProcessOptions) error {
	for _, word := range f.allow {
		switch word {
		case "network.host":
			p.AllowHostNetwork = true
		case "security.insecure":
			p.AllowInsecure = true
		default:
			return usagef("--allow %s: use network.host or security.insecure", word)
		}
	}
	return nil
}

// checkDockerfile prints what is doubtful in a Dockerfile.
func (a *app) checkDockerfile(ctx context.Context, req veneer.DockerfileRequest) error {
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		w, err := a.newStepPrinter(ctx)
		if err != nil {
			return err
		}
		lint, err := veneer.CheckDockerfile(ctx, e, req)
		if err != nil {
			w.explain(err)
			return err
		}
		if _, err := io.WriteString(a.std.out, lint.Text); err != nil {
			return err
		}
		if lint.Failed {
			return &exitCodeError{code: exitError, err: errors.New("the Dockerfile does not pass the check")}
		}
		return nil
	})
}

// maxDockerfile bounds the file that is read.
const maxDockerfile = 16 << 20

// readContext reads the Dockerfile and finds the context. One of them may be
// standard input.
func (a *app) readContext(ctx context.Context, path, file string, req *veneer.DockerfileRequest) (closeContext func(), err error) {
	closeContext = func() {}
	switch {
	case path == "-" && file == "-":
		return closeContext, usagef("standard input is either the Dockerfile (--file -) or the context (-)")
	case path == "-":
		return a.readPacked(ctx, a.stdin(ctx), "standard input", file, req)
	case isRemote(path):
		return a.readRemote(ctx, path, file, req)
	}
	if st, err := os.Stat(path); err != nil {
		return closeContext, usagef("build context %s: %w", path, err)
	} else if !st.IsDir() {
		return closeContext, usagef("build context %s is not a directory; a Dockerfile of another name is --file %[1]s", path)
	}
	req.Context = path
	if file == "-" {
		req.Dockerfile, err = readBounded(a.stdin(ctx), "standard input")
		return closeContext, err
	}
	if file, err = dockerfileOf(path, file); err != nil {
		return closeContext, err
	}
	return closeContext, readDockerfile(ctx, file, req)
}

// dockerfileOf is the file that --file names, or else the one that a context has.
func dockerfileOf(dir, file string) (string, error) {
	if file == "" {
		file = findDockerfile(dir)
	}
	if file == "" {
		return "", usagef("there is no Dockerfile in %s; write one, or say where it is with --file, or build without one: veneer build --from IMAGE --sync %[1]s:/app", dir)
	}
	return file, nil
}

// findDockerfile returns the file to build if none is named. Empty: there is none.
func findDockerfile(dir string) string {
	for _, name := range []string{"Veneerfile", "Dockerfile", "dockerfile"} {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && !st.IsDir() {
			return p
		}
	}
	return ""
}

func readBounded(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err == nil && len(data) > maxDockerfile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxDockerfile)
	}
	return data, err
}
