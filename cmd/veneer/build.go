package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const targetHelp = `Targets are applied in the order given, later ones win. SRC is a file or a
directory; DEST means what it means for a Dockerfile's COPY, and a relative one
is below the image's working directory. SRC:DEST is split at the last colon with
a slash after it. The long form is a comma-separated list:

  type=dir|tar|image|container
                        tar: SRC is an archive, compressed or not, "-" is
                        standard input; image and container: SRC is a path in
                        the root file system of one
  ref=IMAGE             the image of type=image, for the base's platform
  id=CONTAINER          the container of type=container, as for veneer commit
  pause=true|false      whether to pause it while its files are read
  src=SRC               also source
  dest=DEST             also dst, destination, target
  chown=USER[:GROUP]    names are those of the base's /etc/passwd and /etc/group
  chmod=MODE            as chmod(1) takes it
  owner=base|source|root
                        whose owners: base keeps those of existing paths, and
                        is the default for directories; source is for the rest
  exclude=PATTERN       as in .dockerignore, repeatable; what is excluded is
                        neither added nor deleted
  ignorefile=FILE       with such patterns, relative to SRC
  dirlinks=follow|replace|error
                        where SRC has a directory and the base a link to one`

// buildOptions say what a command does with the image that it made.
type buildOptions struct {
	format       enumValue
	quiet        bool
	iidFile      string
	metadataFile string
	push         pushFlags
	// temporary: the command works in temporary stores, see withTemporaryEngine.
	temporary bool
}

func (a *app) buildCommand() *cobra.Command {
	var base baseFlags
	var image imageFlags
	var dockerfile dockerfileFlags
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build [flags] [PATH|-]",
		Short: "Build an image from a Dockerfile, or from a base and the files that differ",
		Long: `Build an image in one of two ways.

With a directory (PATH), from the Dockerfile in it: steps, stages, cache and all;
docs/dockerfile.md has the details. --onto IMAGE makes the result of IMAGE and one
layer, which holds what differs from it. - is standard input: a tar of the
directory, or a Dockerfile alone.

With --from, from a base and the files that differ from it, as one layer.

` + targetHelp + `

With several platforms (--platform linux/amd64,linux/arm64) the result is an index
of an image for each. With --from it may be all: the targets are applied to the
image of each in the base's index, and attestations of the base are left out.
{{.OS}}, {{.Arch}} and {{.Variant}} in SRC stand for the platform (arm64 has no
variant). There the host's platform is unpacked, others are not.

The image's digest is printed on standard output, all else on standard error. With
--push it is also sent to its registry, where just the layer has to go if the base
is there. If that fails the exit code is 1, and the image is stored and named all
the same; veneer push says which flags and files registries go by.`,
		Example: `  veneer build -t app:2 .
  veneer build -t app:2 --onto app:1 --build-arg VERSION=2 .
  veneer build --from debian:12 --sync ./app:/app -c 'CMD ["/app/run"]' -t app:2
  veneer build --from app:1 --copy ./conf/:/etc/app/ --delete /etc/app/old.conf -t app:2
  veneer build --from app:1 --sync type=dir,src=.,dest=/app,chown=1000:1000,exclude=*.log -t app:2
  veneer build --from debian:12 --platform all --copy 'bin/{{.OS}}-{{.Arch}}/app:/usr/bin/' -t app:2
  tar -c . | veneer build --from scratch --copy type=tar,src=-,dest=/ -t files:1
  veneer build --from app:1 --sync ./app:/app -t registry.example.org/team/app:2 --push`,
		Args:        func(cmd *cobra.Command, args []string) error { return checkWay(cmd, base.from != "", args) },
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if base.from == "" {
				return a.buildDockerfile(cmd.Context(), args[0], &dockerfile, &base, &image, o)
			}
			req, err := a.buildRequest(&base, &image)
			if err != nil {
				return err
			}
			return a.build(cmd.Context(), req, o)
		},
	}
	base.bind(cmd)
	image.bind(cmd)
	o.bind(cmd)
	dockerfile.bind(cmd)
	return cmd
}

func (o *buildOptions) bind(cmd *cobra.Command) {
	o.push.bind(cmd)
	o.format = newFormat()
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "print the digest, and on standard error only errors")
	fs.StringVar(&o.iidFile, "iidfile", "", "write the image's digest to `file`")
	fs.StringVar(&o.metadataFile, "metadata-file", "", "write what was built to `file`, as JSON")
	exclusive(cmd, "quiet", "format")
}

// buildRequest makes the request that the flags ask for.
func (a *app) buildRequest(base *baseFlags, image *imageFlags) (veneer.BuildRequest, error) {
	req := veneer.BuildRequest{Reports: veneer.Reports{Log: a.log}}
	if err := base.request(&req); err != nil {
		return req, err
	}
	err := image.request(&req.ImageOptions, &req.LayerOptions, a.getenv)
	if err == nil {
		req.Differ, err = image.differKind()
	}
	return req, err
}

func (a *app) build(ctx context.Context, req veneer.BuildRequest, o buildOptions) error {
	req.Stdin = a.stdin(ctx)
	return a.makeImage(ctx, o, req.Tags, func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.Result, error) {
		req.Progress = p
		return veneer.Build(ctx, e, req)
	})
}

// makeImage calls one of the library's verbs that make images, pushes the image if
// asked to, and prints the result.
func (a *app) makeImage(ctx context.Context, o buildOptions, tags []string, do func(context.Context, *veneer.Engine, veneer.Progress) (*veneer.Result, error)) error {
	if err := o.push.check(tags); err != nil {
		return err
	}
	if o.quiet {
		a.beQuiet()
	}
	var res *veneer.Result
	files, err := openResultFiles(ctx, o)
	if err != nil {
		return err
	}
	defer files.discard()
	open := a.withEngine
	if o.temporary {
		open = withTemporaryEngine
	}
	err = open(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		if res, err = do(ctx, e, d); err != nil {
			return err
		}
		d.Close()
		return o.push.send(ctx, a, e, res.Names)
	})
	if err != nil {
		return err
	}
	adviseResult(res)
	if err := files.write(res); err != nil {
		return err
	}
	a.notifyAll("warning: ", res.Warnings)
	a.notifyAll("note: ", res.Notes)
	if !a.quiet && !a.jsonMessages() {
		_, _ = fmt.Fprintln(a.stderr, summaryText(res))
	}
	if o.format.value == "json" {
		return printJSON(a.std.out, res)
	}
	return printLine(a.std.out, "%s", res.Digest)
}

// resultFiles are the files of --iidfile and --metadata-file. nil: not asked for.
type resultFiles struct{ iid, metadata *pendingFile }

func openResultFiles(ctx context.Context, o buildOptions) (files resultFiles, err error) {
	if o.iidFile != "" {
		if files.iid, err = openPending(ctx, o.iidFile); err != nil {
			return files, err
		}
	}
	if o.metadataFile != "" {
		if files.metadata, err = openPending(ctx, o.metadataFile); err != nil {
			files.discard()
		}
	}
	return files, err
}

// write is called before the result is printed. Whoever reads the result then finds
// the files.
func (r resultFiles) write(res *veneer.Result) error {
	if r.iid != nil {
		if err := r.iid.commit([]byte(res.Digest)); err != nil {
			return err
		}
	}
	if r.metadata == nil {
		return nil
	}
	data, err := json.MarshalIndent(metadataOf(res), "", "  ")
	if err != nil {
		return errors.Join(errors.New("encode metadata"), err)
	}
	return r.metadata.commit(append(data, '\n'))
}

func (r resultFiles) discard() {
	r.iid.discard()
	r.metadata.discard()
}

// metadata is the content of --metadata-file. It uses buildx's keys where buildx
// has some, and keys of its own for the rest. buildx's begin with buildx.,
// containerimage. or image., and those of bake, names of targets, have no dot.
type metadata struct {
	Digest     string             `json:"containerimage.digest"`
	Descriptor ocispec.Descriptor `json:"containerimage.descriptor"`
	Name       string             `json:"image.name,omitempty"` // comma-separated
	Veneer     *veneer.Result     `json:"veneer"`
	// Steps are those of a Dockerfile.
	Steps []veneer.DockerfileStep `json:"veneer.steps,omitempty"`
}
