package main

import (
	"context"
	"errors"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const commitHelp = `Make an image of what a container wrote, as one layer on the image that it was
made from. A file that was written again with the same content is no change.

CONTAINER is an ID or its beginning, a name that nerdctl gave, or in Kubernetes
(--namespace k8s.io) CONTAINER, POD/CONTAINER or NAMESPACE/POD/CONTAINER. It may
be running, paused, stopped, or never started.

A running container is paused while its files are read, and resumed as soon as
the layer is written, also after an error or a signal. After kill -9 it stays
paused until veneer prune, ctr task resume or nerdctl unpause. With --pause=false
it runs on, and a file that changes while it is read is an error that names it.

On overlayfs, what the container wrote is read where its snapshot keeps it, and
costs what that costs. On native, the whole root file system is compared with the
image's. On other snapshotters containers cannot be read. The image is unpacked
on the container's snapshotter, whatever --snapshotter says.

Files made for the container's mounts to go over, such as an empty
/etc/resolv.conf, are in the layer as they are in the container's snapshot;
what was mounted over them is not.

The config is that of the container's image. If that name is another image by
now, --from says onto which one to commit: the result shows the container's files
on any.`

// commitFlags choose what of the container is committed, and onto what.
type commitFlags struct {
	from     string
	platform string
	compare  enumValue
	only     []string
	exclude  []string
	pause    bool
}

func (f *commitFlags) bind(cmd *cobra.Command) {
	f.compare = newEnum(string(veneer.CompareContent), string(veneer.CompareContent), string(veneer.CompareMetadata))
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "", "`image` to commit onto (default the one that the container was made from)")
	fs.StringVar(&f.platform, "platform", "", "platform of a multi-platform image, as in linux/arm64/v8 (default the host's)")
	fs.Var(&f.compare, "compare", "when two files are the same: content, or metadata to trust equal size and time")
	fs.StringArrayVar(&f.only, "only", nil, "commit what is at and below `path`, and nothing else (repeatable)")
	fs.StringArrayVar(&f.exclude, "exclude", nil, "leave out what matches `pattern`, as in .dockerignore, relative to / (repeatable)")
	fs.BoolVar(&f.pause, "pause", true, "pause the container while its files are read")
	completeWords(cmd, map[string][]string{"compare": f.compare.allowed})
}

// request fills in what the flags say.
func (f *commitFlags) request(r *veneer.CommitRequest) error {
	if f.from != "" && f.from != veneer.Scratch {
		if err := checkRef(f.from); err != nil {
			return err
		}
	}
	if err := checkPlatform(f.platform); err != nil {
		return err
	}
	for _, p := range f.only {
		if !strings.HasPrefix(p, "/") {
			return usagef("--only %q: want an absolute path in the container", p)
		}
	}
	for _, p := range f.exclude {
		pattern, err := rootPattern(p)
		if err != nil {
			return usagef("--exclude %q: %w", p, err)
		}
		r.Exclude = append(r.Exclude, pattern)
	}
	r.Base, r.Platform, r.Compare = f.from, f.platform, veneer.CompareMode(f.compare.value)
	r.Only, r.NoPause = f.only, !f.pause
	return nil
}

// rootPattern removes the slash that people write before a .dockerignore pattern.
// Patterns are relative to the root directory.
func rootPattern(p string) (string, error) {
	rest, not := strings.CutPrefix(p, "!")
	rest = strings.TrimLeft(rest, "/")
	if rest == "" {
		return "", errors.New("it names nothing below the root directory")
	}
	if not {
		rest = "!" + rest
	}
	_, err := patternmatcher.New([]string{rest})
	return rest, err
}

func (a *app) commitCommand() *cobra.Command {
	var flags commitFlags
	var image imageFlags
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "commit CONTAINER NAME...",
		Short: "Make an image of a container's changes",
		Long:  commitHelp,
		Example: `  veneer commit web web:debug
  veneer commit --only /var/lib/app -c 'CMD ["/app/run"]' web web:seeded
  veneer commit -n k8s.io --pause=false default/web-0/web web:debug`,
		Args:        minArgs(2),
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := veneer.CommitRequest{Container: args[0]}
			req.Log = a.log
			if args[0] == "" {
				return usagef("CONTAINER is empty")
			}
			image.tags = append(args[1:], image.tags...)
			err := image.request(&req.ImageOptions, &req.LayerOptions, a.getenv)
			if err == nil {
				req.Differ, err = image.differKind()
			}
			if err != nil {
				return err
			}
			if err := flags.request(&req); err != nil {
				return err
			}
			return a.makeImage(cmd.Context(), o, req.Tags, func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.Result, error) {
				req.Progress = p
				return veneer.Commit(ctx, e, req)
			})
		},
	}
	flags.bind(cmd)
	image.bind(cmd)
	o.bind(cmd)
	return cmd
}
