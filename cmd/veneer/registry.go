package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const registryHelp = `Credentials are those of veneer login or docker login, helpers included. Mirrors,
certificates and plain HTTP are taken from the hosts.toml files and certificates
in ~/.config/containerd/certs.d, /etc/containerd/certs.d and /etc/docker/certs.d.
On localhost plain HTTP is tried where HTTPS does not answer.

What fails for a reason that can pass (a broken connection, a busy registry) is
tried again, for about 15 seconds, or for as long as it gets on. A registry that
says how long to wait is given up to two minutes. When it fails for good, or is
interrupted, no name has changed and nothing is left.`

// registryFlags are the flags that pull and push share.
type registryFlags struct{ veneer.RegistryOptions }

func (f *registryFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.PlainHTTP, "plain-http", false, "talk HTTP where no hosts.toml says otherwise")
	fs.StringArrayVar(&f.HostsDirs, "hosts-dir", nil, "`directory` of hosts.toml files, in place of the usual ones (repeatable)")
}

// transfer runs a pull or a push, shows its progress and prints the digest of
// what was transferred.
func (a *app) transfer(ctx context.Context, step veneer.Step, f *registryFlags, do func(context.Context, *veneer.Engine, veneer.Progress) (digest.Digest, error)) error {
	if err := checkPlatform(f.Platform); err != nil {
		return err
	}
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		d.Step(step)
		f.Progress, f.Notify, f.Log = blobProgress(d, step.Kind == "push"), a.notify, a.log
		dgst, err := do(ctx, e, d)
		if err != nil {
			return err
		}
		d.Done()
		d.Close()
		return printLine(a.std.out, "%s", dgst)
	})
}

func (a *app) pullCommand() *cobra.Command {
	var f registryFlags
	noUnpack := false
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Fetch an image from a registry",
		Long: `Fetch an image from a registry and unpack it. What is here already is neither
fetched nor unpacked again, so that an image on a known base costs its one layer;
a layer that a killed pull has fetched half of is continued.

If the registry has a delta of the image (veneer push --delta-from) from one that
is here, and that is less than the layers, the layers are made of it. The image
is the same, with the same digest. Whatever is wrong with a delta, the layers are
fetched instead.

` + registryHelp,
		Example: `  veneer pull debian:12
  veneer pull --platform linux/arm64 registry.example.org/team/app:2
  veneer pull --plain-http registry.lan:5000/app`,
		Args: nameArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.transfer(cmd.Context(), veneer.Step{Kind: "pull", Of: args[0]}, &f, func(ctx context.Context, e *veneer.Engine, d veneer.Progress) (digest.Digest, error) {
				if noUnpack {
					img, err := veneer.Fetch(ctx, e, args[0], f.RegistryOptions)
					return img.Target.Digest, err
				}
				img, err := veneer.PullTelling(ctx, e, args[0], f.RegistryOptions, d)
				adviseNotices(img.Warnings)
				a.notifyAll("warning: ", img.Warnings)
				if err == nil && img.Delta != nil {
					a.notify(pulledText(img.Delta))
				}
				return img.Target.Digest, err
			})
		},
	}
	f.bind(cmd)
	bindPlatform(cmd, &f.Platform)
	cmd.Flags().BoolVar(&f.AllPlatforms, "all-platforms", false, "fetch all platforms of the image; unpack the host's")
	cmd.Flags().BoolVar(&f.ForeignLayers, "foreign-layers", false, "fetch layers that the registry lacks from the addresses that the image names for them")
	cmd.Flags().BoolVar(&noUnpack, "no-unpack", false, "fetch the image, but make no snapshot of it, and use no delta")
	cmd.Flags().BoolVar(&f.NoDelta, "no-delta", false, "fetch layers, and do not ask for deltas")
	exclusive(cmd, "platform", "all-platforms")
	return cmd
}

func (a *app) pushCommand() *cobra.Command {
	var f registryFlags
	var deltas veneer.PushDeltasRequest
	cmd := &cobra.Command{
		Use:   "push IMAGE",
		Short: "Send an image to its registry",
		Long: `Send an image to the registry that its name says. What is there already is not
sent again, and what is in another repository there is mounted from it, so that
an image on a known base costs its one layer.

With --delta-from OLD a delta below the file follows, from that image, which must
be here. veneer pull takes it where OLD is, in place of the layers. A delta that
would not be smaller is not sent.

` + registryHelp,
		Example: `  veneer tag app:2 registry.example.org/team/app:2
  veneer push registry.example.org/team/app:2
  veneer push --delta-from registry.example.org/team/app:1 registry.example.org/team/app:2`,
		Args: nameArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.transfer(cmd.Context(), veneer.Step{Kind: "push", Of: args[0]}, &f, func(ctx context.Context, e *veneer.Engine, _ veneer.Progress) (digest.Digest, error) {
				desc, err := veneer.Push(ctx, e, args[0], f.RegistryOptions)
				if err != nil || len(deltas.Since) == 0 {
					return desc.Digest, err
				}
				deltas.Image, deltas.Platform, deltas.Registry = args[0], f.Platform, f.RegistryOptions
				return desc.Digest, a.pushDeltas(ctx, e, deltas)
			})
		},
	}
	f.bind(cmd)
	cmd.Flags().StringArrayVar(&deltas.Since, "delta-from", nil, "push a delta from this older `image`, too (repeatable)")
	cmd.Flags().IntVar(&deltas.Keep, "keep-deltas", 0, "with --delta-from, how many deltas of the image stay in the registry (default 8)")
	cmd.Flags().StringVar(&f.Platform, "platform", "", "send just this platform of a multi-platform image (default all)")
	return cmd
}

// pushFlags are the flags of commands that can push the image that they make.
type pushFlags struct {
	push bool
	registryFlags
}

func (f *pushFlags) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.push, "push", false, "push the image under each of its names, as veneer push does")
	f.registryFlags.bind(cmd)
}

// check returns an error if an image is to be pushed that has no name.
func (f *pushFlags) check(names []string) error {
	if f.push && len(names) == 0 {
		return usagef("--push needs a name that says where to: use --tag REGISTRY/NAME")
	}
	return nil
}

// send pushes an image under each of its names, if --push was given. The image is
// already stored and named, and an error says so.
func (f *pushFlags) send(ctx context.Context, a *app, e *veneer.Engine, names []string) error {
	if !f.push {
		return nil
	}
	d, err := a.newDisplay(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	for _, name := range names {
		d.Step(veneer.Step{Kind: "push", Of: name})
		o := f.RegistryOptions
		o.Progress, o.Notify = blobProgress(d, true), a.notify
		if _, err := veneer.Push(ctx, e, name, o); err != nil {
			return fmt.Errorf("%s is built and stored, but not pushed (veneer push%s %s tries again): %w", name, f.again(), name, err)
		}
	}
	d.Done()
	return nil
}

// again are the flags of f as veneer push takes them, for a command line that a
// message shows: each with a space before it.
func (f *registryFlags) again() string {
	var b strings.Builder
	if f.PlainHTTP {
		b.WriteString(" --plain-http")
	}
	for _, dir := range f.HostsDirs {
		b.WriteString(" --hosts-dir " + shellWord(dir))
	}
	return b.String()
}

// nameArg is a cobra.PositionalArgs for one image name. It refuses IDs, since a
// registry needs a name.
func nameArg(cmd *cobra.Command, args []string) error {
	if err := exactArgs(1)(cmd, args); err != nil {
		return err
	}
	ref, err := veneer.ParseRef(args[0])
	if err == nil && ref.Name == "" {
		err = fmt.Errorf("%s is a digest: a registry wants a name, as in NAME@DIGEST", args[0])
	}
	return asUsage(err)
}
