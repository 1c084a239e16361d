package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const unitLong = `Write the drop-ins with which the unit veneer@INSTANCE.service runs an image under
systemd alone: no container runtime is needed on the host.
veneer-mount@INSTANCE.service mounts the image while that runs, as its root
directory. Command, environment, user, working directory, stop signal and volumes
are those of the image's config; users are looked up in the image. The service
sees its files read-only, and has no capabilities but those of --capability.
systemd must find the user on the host: one that is not there goes into a file for
systemd-sysusers.

The drop-ins name the image by its digest: what the name means later changes
nothing until veneer unit writes them anew. So an update is veneer unit with the
new tag, and going back is veneer unit with the old one; each time, systemctl
daemon-reload and systemctl restart. The last releases of an instance, --keep of
them, stay also if their names go to other images: veneer images
'unit.veneer.localhost/INSTANCE' lists them, and each can be given as IMAGE.

INSTANCE is the last part of the image's name if it is left out.`

// unitOptions say where a drop-in goes.
type unitOptions struct {
	req    veneer.UnitRequest
	dir    string
	users  string
	stdout bool
	keep   int
	format enumValue
}

func (a *app) unitCommand() *cobra.Command {
	o := &unitOptions{format: newFormat()}
	cmd := &cobra.Command{
		Use:   "unit IMAGE [INSTANCE]",
		Short: "Write what lets systemd run an image as a service",
		Long:  unitLong,
		Example: `  veneer unit app:2
  systemctl daemon-reload && systemctl restart veneer@app
  veneer unit app:2 web --capability CAP_NET_BIND_SERVICE
  veneer unit app:2 --stdout`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usagef("give an image, and perhaps the instance")
			}
			return checkRef(args[0])
		},
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.req.Image, o.req.Instance = args[0], instanceOf(args)
			if err := o.check(); err != nil {
				return err
			}
			return a.unit(cmd.Context(), o)
		},
	}
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.StringVar(&o.dir, "dir", "/etc/systemd/system", "the `directory` of units")
	fs.StringVar(&o.users, "sysusers-dir", "/etc/sysusers.d", "the `directory` for users that the host lacks")
	fs.BoolVar(&o.stdout, "stdout", false, "print the drop-ins, and write and keep nothing")
	fs.IntVar(&o.keep, "keep", 3, "how many releases of the instance stay")
	fs.StringArrayVar(&o.req.Capabilities, "capability", nil, "a `capability` that the service needs (repeatable)")
	bindPlatform(cmd, &o.req.Platform)
	exclusive(cmd, "stdout", "format")
	return cmd
}

// instanceOf is the second argument, or the last part of the image's name.
func instanceOf(args []string) string {
	if len(args) > 1 {
		return args[1]
	}
	ref, err := veneer.ParseRef(args[0])
	if err != nil {
		return ""
	}
	repository := ref.Repository()
	return repository[strings.LastIndex(repository, "/")+1:]
}

func (o *unitOptions) check() error {
	switch {
	case o.req.Instance == "":
		return usagef("%s has no name: say which INSTANCE", o.req.Image)
	case o.keep < 1:
		return usagef("--keep %d: the release that runs stays", o.keep)
	}
	if err := veneer.CheckInstance(o.req.Instance); err != nil {
		return asUsage(err)
	}
	for _, c := range o.req.Capabilities {
		if err := veneer.CheckCapability(c); err != nil {
			return asUsage(err)
		}
	}
	return checkPlatform(o.req.Platform)
}

func (a *app) unit(ctx context.Context, o *unitOptions) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		again := append([]string{program}, engineArgs(e, a.engineOptions(nil))...)
		o.req.Mount = slices.Concat(again, []string{"--progress", "quiet", "mount", "--rw"})
		o.req.Unmount = slices.Concat(again, []string{"unmount", "--if-mounted", "--below"})
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		o.req.Reports = veneer.Reports{Progress: d, Log: a.log}
		unit, err := veneer.Unit(ctx, e, o.req)
		if err != nil {
			return err
		}
		a.notifyAll("warning: ", unit.Warnings)
		if o.stdout {
			_, err := io.WriteString(a.std.out, unit.Mount+"\n"+unit.Text+asComment("For sysusers.d:", unit.Users))
			return err
		}
		return a.writeUnit(ctx, e, o, unit)
	})
}

// writeUnit keeps the image first, so that a drop-in never names one that may go.
func (a *app) writeUnit(ctx context.Context, e *veneer.Engine, o *unitOptions, unit *veneer.UnitFile) error {
	if err := veneer.AddRelease(ctx, e, unit); err != nil {
		return err
	}
	service := "veneer@" + unit.Instance + ".service"
	name := filepath.Join(o.dir, service+".d", "image.conf")
	next := "systemctl daemon-reload && systemctl restart " + service
	if unit.Users != "" {
		next = "systemd-sysusers && " + next
		if err := writeWhole(ctx, filepath.Join(o.users, "veneer-"+unit.Instance+".conf"), unit.Users); err != nil {
			return err
		}
	}
	if err := writeWhole(ctx, filepath.Join(o.dir, "veneer-mount@"+unit.Instance+".service.d", "image.conf"), unit.Mount); err != nil {
		return err
	}
	if err := writeWhole(ctx, name, unit.Text); err != nil {
		return err
	}
	if _, err := veneer.DropReleases(ctx, e, unit.Instance, o.keep); err != nil {
		return err
	}
	if o.format.value == "json" {
		return printJSON(a.std.out, unit)
	}
	a.notify("next: " + next)
	return printLine(a.std.out, "%s", printable(name))
}

// writeWhole replaces a file of the system's configuration, which everybody may read.
func writeWhole(ctx context.Context, name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := openPending(ctx, name)
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	return f.commit(nil)
}

// engineArgs choose the same engine again.
func engineArgs(e *veneer.Engine, f engineFlags) []string {
	args := []string{"--engine", string(e.Mode), "--snapshotter", e.Snapshotter, "--namespace", e.Namespace}
	if e.Mode == veneer.EngineContainerd && f.Address != "" {
		args = append(args, "--address", f.Address)
	}
	return append(args, "--root", e.Root)
}

func asComment(title, text string) string {
	if text == "" {
		return ""
	}
	return "\n# " + title + "\n# " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n# ") + "\n"
}
