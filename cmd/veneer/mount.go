package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const mountLong = `Mount an image's files on a directory, as a container of the image would see them,
for services and tools that need no container runtime. Without arguments, list
what is mounted, also after a crash.

What is mounted can be read only. With --rw it can be written to, and what was
written goes when it is unmounted; with --upper DIR it stays there, and the next
mount with that directory shows it again.

The image stays as it is while it is mounted, whatever its name means by then, and
veneer rmi refuses its last name. Programs in it can be run; set-user-ID bits,
file capabilities and devices in it have no effect. The directory must be empty;
one that is not there is made, and goes at veneer unmount. Nobody but root and you
may be able to replace it or a directory above it. It takes root.

States in the list: "mounted"; "elsewhere", if only other mounts or
processes have it; "gone", as after the host was started again, which veneer
prune forgets; "unknown", if that cannot be seen from here.`

func (a *app) mountCommand() *cobra.Command {
	var req veneer.MountRequest
	format := newFormat()
	cmd := &cobra.Command{
		Use:   "mount [IMAGE DIR]",
		Short: "Mount an image's files on a directory, or list what is mounted",
		Long:  mountLong,
		Example: `  veneer mount app:2 /srv/app
  veneer mount app:2 /srv/app --rw
  veneer mount app:2 /srv/app --upper /var/lib/app
  veneer mount
  veneer unmount /srv/app`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if err := exactArgs(2)(cmd, args); err != nil {
				return err
			}
			if args[1] == "" {
				return usagef("the directory is empty")
			}
			return checkRef(args[0])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listMounts(cmd, req, &format)
			}
			req.Image, req.Dir = args[0], args[1]
			if err := checkPlatform(req.Platform); err != nil {
				return err
			}
			return a.mount(cmd.Context(), req, &format)
		},
	}
	bindFormat(cmd, &format)
	fs := cmd.Flags()
	fs.BoolVar(&req.Writable, "rw", false, "writable; what is written goes when it is unmounted")
	fs.StringVar(&req.Upper, "upper", "", "writable; what is written is kept in this `directory`")
	bindPlatform(cmd, &req.Platform)
	exclusive(cmd, "rw", "upper")
	return cmd
}

func (a *app) mount(ctx context.Context, req veneer.MountRequest, format *enumValue) error {
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		req.Reports = veneer.Reports{Progress: d, Log: a.log}
		m, err := veneer.Mount(ctx, e, req)
		if err != nil {
			return err
		}
		if format.value == "json" {
			return printJSON(a.std.out, m)
		}
		return printLine(a.std.out, "%s", printable(m.Dir))
	})
}

func (a *app) listMounts(cmd *cobra.Command, req veneer.MountRequest, format *enumValue) error {
	if req.Writable || req.Upper != "" || req.Platform != "" {
		return usagef("an image and a directory are missing: veneer mount IMAGE DIR")
	}
	return a.withReading(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
		list, err := veneer.Mounts(ctx, e)
		if err != nil {
			return err
		}
		if format.value == "json" {
			return printJSON(a.std.out, append([]veneer.Mounted{}, list...))
		}
		t := newTable(a, "DIRECTORY", "IMAGE", "DIGEST", "ACCESS", "SINCE", "STATE")
		for i := range list {
			m := &list[i]
			t.row(m.Dir, m.Image, shortDigest(m.Digest.String()), accessWord(m), timeText(m.Since), stateText(m))
		}
		return t.flush()
	})
}

func accessWord(m *veneer.Mounted) string {
	switch {
	case m.Upper != "":
		return "rw, kept in " + m.Upper
	case m.Writable:
		return "rw"
	}
	return "ro"
}

// stateText is the state, with who uses it besides.
func stateText(m *veneer.Mounted) string {
	text := string(m.State)
	var users []string
	for _, u := range m.Users {
		users = append(users, u.String())
	}
	if len(users) > 0 {
		text += ", used by " + strings.Join(users, ", ")
	}
	return text
}

func (a *app) unmountCommand() *cobra.Command {
	force, ifMounted, below := false, false, false
	cmd := &cobra.Command{
		Use:     "unmount DIR...",
		Aliases: []string{"umount"},
		Short:   "Unmount what veneer mount has mounted",
		Long: `Unmount images' files that veneer mount has mounted, with the same --engine,
--address, --namespace or --root. What was written to one that was mounted with
--rw goes.

What a process uses stays, and so does what a process in another mount namespace
shows, such as a service whose root directory it is: the error names these. What is
not mounted any more is forgotten.`,
		Example: `  veneer unmount /srv/app
  veneer umount /srv/a /srv/b`,
		Args: minArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := leave(args)
			if err != nil {
				return err
			}
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				if below {
					if dirs, err = mountsBelow(ctx, e, dirs); err != nil {
						return err
					}
				}
				var errs []error
				for _, dir := range dirs {
					_, err := veneer.Unmount(ctx, e, dir, force)
					if ifMounted && errors.Is(err, veneer.ErrNotMounted) {
						err = nil
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also forget what cannot be seen from here, as what another container had mounted")
	cmd.Flags().BoolVar(&below, "below", false, "unmount what is mounted below the directory")
	cmd.Flags().BoolVar(&ifMounted, "if-mounted", false, "no error where nothing is mounted")
	return cmd
}

// mountsBelow are the directories below others that images are mounted on.
func mountsBelow(ctx context.Context, e *veneer.Engine, dirs []string) ([]string, error) {
	list, err := veneer.Mounts(ctx, e)
	if err != nil {
		return nil, err
	}
	var found []string
	for i := range list {
		if slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(list[i].Dir, dir+"/") }) {
			found = append(found, list[i].Dir)
		}
	}
	return slices.Compact(found), nil
}

// leave makes paths absolute, and leaves the working directory: it may be in what is
// to be unmounted, as in a unit with RootDirectory=.
func leave(paths []string) ([]string, error) {
	var list []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		list = append(list, abs)
	}
	return list, os.Chdir("/")
}
