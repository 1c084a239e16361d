package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) importCommand() *cobra.Command {
	var image imageFlags
	var o buildOptions
	platform := ""
	cmd := &cobra.Command{
		Use:   "import FILE|- NAME...",
		Short: "Make an image of a root file system's archive",
		Long: `Make an image of one layer from a tar of a root file system, as docker export,
nerdctl export and mmdebstrap write it, plain or compressed. "-" is standard input.
Owners, modes and times are the archive's. --change says what the image's config
has, such as the command.

It is veneer build --from scratch --copy type=tar,src=FILE,dest=/ in short. An
archive of images is for veneer load.`,
		Example: `  veneer import rootfs.tar.xz base:1
  veneer import -c 'CMD ["/bin/sh"]' --env LANG=C.UTF-8 rootfs.tar base:1
  nerdctl export web | veneer import - web:flat`,
		Args:        minArgs(2),
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			image.tags = append(args[1:], image.tags...)
			if err := checkImport(args[0]); err != nil {
				return err
			}
			base := baseFlags{from: veneer.Scratch, platform: platform, maxLayers: veneer.DefaultMaxLayers}
			base.compare = newEnum(string(veneer.CompareContent))
			base.reader = newEnum("auto")
			base.targets = []veneer.TargetSpec{{Op: veneer.OpCopy, Type: veneer.SourceTar, Source: args[0], Dest: "/"}}
			req, err := a.buildRequest(&base, &image)
			if err != nil {
				return err
			}
			return a.build(cmd.Context(), req, o)
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", "`platform` that the files are for, as in linux/arm64/v8 (default the host's)")
	image.bind(cmd)
	o.bind(cmd)
	return cmd
}

// checkImport refuses what is no archive, and says what works instead.
func checkImport(file string) error {
	info, err := os.Stat(file)
	switch {
	case file == "":
		return usagef("FILE is empty")
	case strings.HasPrefix(file, "http://"), strings.HasPrefix(file, "https://"):
		return usagef("import %s: fetch it, as in curl -fL %[1]s | veneer import - NAME", file)
	case err == nil && info.IsDir():
		return usagef("import %s: it is a directory and no archive; its files become an image with veneer build --from scratch --copy %s/:/ -t NAME", file, filepath.Clean(file))
	}
	return asUsage(veneer.CheckSource(file))
}
