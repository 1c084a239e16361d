package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/engine"
)

func (a *app) loadCommand() *cobra.Command {
	var o archive.Options
	cmd := &cobra.Command{
		Use:   "load FILE|-",
		Short: "Load images from an archive",
		Long: `Load images from an archive, as docker save, nerdctl save, skopeo and buildx write
it: an OCI layout or a docker-archive in a tar, plain or compressed. The names
are those that the archive carries, or those of --tag.`,
		Example: `  veneer load debian.tar
  veneer load -t debian:12 - < rootfs-oci.tar.zst`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTags(o.Names); err != nil {
				return err
			}
			if err := checkPlatform(o.Platform); err != nil {
				return err
			}
			return a.load(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.Names, "tag", "t", nil, "`name` for the image, in place of those in the archive (repeatable)")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "platform that the archive must hold, as in linux/arm64/v8 (default any)")
	return cmd
}

func (a *app) load(ctx context.Context, file string, o archive.Options) error {
	r := a.stdin(ctx)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("load archive: %w", err)
		}
		defer f.Close() // only read
		r = f
	}
	return a.withEngine(ctx, func(ctx context.Context, e *engine.Engine) error {
		d := a.newDisplay()
		defer d.Close()
		d.Step("load " + file)
		records, err := archive.Import(ctx, e.Client, counting{r, d}, o)
		if err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
		d.Done()
		d.Close()
		for _, img := range records {
			if err := printLine(a.std.out, "%s %s", img.Name, img.Target.Digest); err != nil {
				return err
			}
		}
		return nil
	})
}

// counting tells a display what is read.
type counting struct {
	r io.Reader
	d display
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.d.Count(0, int64(n))
	return n, err
}
