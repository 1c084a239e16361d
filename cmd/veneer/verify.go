package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// errWrong makes veneer verify exit with an error code. What is wrong was printed.
var errWrong = &exitCodeError{code: exitError}

// verifyOptions are the flags of veneer verify.
type verifyOptions struct {
	format   enumValue
	platform string
	repair   bool
	same     bool
	times    bool
	registry registryFlags
}

const verifyLong = `Derive everything again that is derived of an image, and say what does not fit:
the digest and the size of each blob, media types, diff IDs, chain IDs, the
history, the labels by which containerd keeps blobs and snapshots, and each file
of the snapshot (type, mode, owner, size, content, link target, hard links,
extended attributes, times) against what the layers make. Of a multi-platform
image all platforms that are here are verified.

A line is printed for each finding: error for something wrong, warning for
something odd that harms nothing by itself, note for what could not be checked
and why. The exit code is 1 if there is an error that was not repaired.

--repair sets labels that are missing, unpacks a snapshot again that is not what
its layers make, and removes damaged layer blobs, so that veneer pull brings
them again. A snapshot that a container or another image's snapshot lies on is
not replaced.

IMAGE may also be registry:HOST/NAME or docker://NAME, an image in its registry. All
that can be verified there is: each blob is read to its end as it comes, so that as
many bytes are fetched as a pull would fetch, and none but the manifests and the
config is stored. That is done for the host's platform, unless --platform or
--all-platforms says otherwise. archive:FILE and oci:DIR (with :NAME after it where
it holds several images) are copied to temporary files first, so that takes as much
space again. Outside of an engine images have no labels and no snapshot.

--same-rootfs compares the files of two images with each other, whatever their
layers are, and prints each difference: what the first has, what the second has.
Times do not count unless --times is given.`

func (o *verifyOptions) bind(cmd *cobra.Command) {
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.StringVar(&o.platform, "platform", "", "verify just this `platform` of a multi-platform image (default all that are here; with --same-rootfs and of a registry the host's)")
	fs.BoolVar(&o.repair, "repair", false, "mend labels and the snapshot, and remove damaged layer blobs")
	fs.BoolVar(&o.same, "same-rootfs", false, "compare the files of two images")
	fs.BoolVar(&o.times, "times", false, "with --same-rootfs: modification times count, too")
	fs.BoolVar(&o.registry.AllPlatforms, "all-platforms", false, "verify all platforms of an image in its registry")
	o.registry.bind(cmd)
	exclusive(cmd, "repair", "same-rootfs", "all-platforms")
	exclusive(cmd, "platform", "all-platforms")
}

func (a *app) verifyCommand() *cobra.Command {
	o := verifyOptions{format: newFormat()}
	cmd := &cobra.Command{
		Use:   "verify IMAGE | verify --same-rootfs IMAGE IMAGE",
		Short: "Derive everything about an image again, and repair it",
		Long:  verifyLong,
		Example: `  veneer verify app:2
  veneer verify --repair app:2
  veneer verify --format json --platform linux/arm64 app:2
  veneer verify docker://registry.example.org/team/app:2
  veneer verify archive:app.tar
  veneer verify --same-rootfs app:2 app:2-full`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.same {
				return sameArgs(cmd, args)
			}
			return anyImageArg(cmd, args)
		},
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(o.platform); err != nil {
				return err
			}
			if o.times && !o.same {
				return usagef("--times goes with --same-rootfs: without it, times are always compared")
			}
			if o.same {
				return a.sameRootfs(cmd.Context(), args, o)
			}
			_, remote := veneer.RegistryRef(args[0])
			if o.registry.AllPlatforms && !remote {
				return usagef("--all-platforms goes with an image in its registry: of others, all platforms that are there are verified")
			}
			if o.repair && outside(args[0]) {
				return usagef("--repair mends images of the engine: %s is elsewhere", args[0])
			}
			return a.verify(cmd.Context(), args[0], &o)
		},
	}
	o.bind(cmd)
	return cmd
}

// sameArgs wants two images of the engine.
func sameArgs(cmd *cobra.Command, args []string) error {
	if err := exactArgs(2)(cmd, args); err != nil {
		return err
	}
	for _, ref := range args {
		if outside(ref) {
			return usagef("--same-rootfs compares images of the engine, and %s is elsewhere: use veneer diff %s %s", ref, shellWord(args[0]), shellWord(args[1]))
		}
	}
	return refArgs(2)(cmd, args)
}

func (a *app) verify(ctx context.Context, image string, o *verifyOptions) error {
	var res *veneer.VerifyResult
	open := a.withReading
	switch {
	case o.repair:
		open = a.withEngine
	case outside(image):
		open = withTemporaryEngine
	}
	err := open(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		req := veneer.VerifyRequest{Image: image, Platform: o.platform, Repair: o.repair, Progress: d, Log: a.log}
		if outside(image) {
			o.registry.Notify = a.notify
			res, err = veneer.VerifyOutside(ctx, e, req, o.registry.RegistryOptions)
			return err
		}
		res, err = veneer.Verify(ctx, e, req)
		return err
	})
	if err != nil {
		return err
	}
	for i, f := range res.Findings {
		res.Findings[i].Message = withAdvice(f.Message, f.Cause)
	}
	if o.format.value == "json" {
		err = printJSON(a.std.out, res)
	} else {
		err = printVerified(a.std.out, res)
	}
	if err == nil && res.Errors > 0 {
		return errWrong
	}
	return err
}

// printVerified writes a line for each finding, then the summary.
func printVerified(w io.Writer, res *veneer.VerifyResult) error {
	for _, f := range res.Findings {
		if err := printLine(w, "%s", findingText(f)); err != nil {
			return err
		}
	}
	var files int64
	compared := 0
	for _, p := range res.Platforms {
		files += p.Files
		if p.Compared {
			compared++
		}
	}
	text := fmt.Sprintf("%s: %s, %s, %s read", printable(res.Image), countText(int64(len(res.Platforms)), "platform", "platforms"),
		countText(res.Blobs, "blob", "blobs"), bytesText(res.Bytes))
	if compared > 0 {
		text += fmt.Sprintf("; %s of %s compared", countText(files, "file", "files"), countText(int64(compared), "snapshot", "snapshots"))
	}
	text += fmt.Sprintf("; %s, %s", countText(int64(res.Errors), "error", "errors"), countText(int64(res.Warnings), "warning", "warnings"))
	if res.Repaired > 0 {
		text += fmt.Sprintf(", %d repaired", res.Repaired)
	}
	return printLine(w, "%s", text)
}

func findingText(f veneer.Finding) string {
	text := string(f.Severity)
	if f.Repaired {
		text = "repaired"
	}
	text += ": " + string(f.Check)
	if f.Platform != "" {
		text += " " + printable(f.Platform)
	}
	if f.Path != "" {
		return text + " " + quotePath(f.Path) + ": " + printable(f.Message)
	}
	if f.Object != "" {
		text += " " + printable(f.Object.String())
	}
	return text + ": " + printable(f.Message)
}

func (a *app) sameRootfs(ctx context.Context, images []string, o verifyOptions) error {
	var res *veneer.SameResult
	err := a.withReading(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		res, err = veneer.SameRootfs(ctx, e, veneer.SameRequest{
			A: images[0], B: images[1], Platform: o.platform, Times: o.times, Progress: d, Log: a.log,
		})
		return err
	})
	if err != nil {
		return err
	}
	if o.format.value == "json" {
		err = printJSON(a.std.out, res)
	} else {
		err = printSame(a.std.out, res)
	}
	if err == nil && !res.Same {
		return errWrong
	}
	return err
}

// printSame writes a line for each difference, then the verdict.
func printSame(w io.Writer, res *veneer.SameResult) error {
	for _, d := range res.Differences {
		line := quotePath(d.Path) + "  " + string(d.Aspect)
		switch {
		case d.A != "":
			line += fmt.Sprintf("  %s  %s", printable(d.A), printable(d.B))
		case d.B != "":
			line += "  " + printable(d.B)
		}
		if err := printLine(w, "%s", line); err != nil {
			return err
		}
	}
	if res.Same {
		return printLine(w, "%s and %s show the same %s", printable(res.A), printable(res.B), countText(res.Files, "file", "files"))
	}
	if more := res.Total - len(res.Differences); more > 0 {
		if err := printLine(w, "and %d more", more); err != nil {
			return err
		}
	}
	return printLine(w, "%s and %s differ in %s", printable(res.A), printable(res.B), countText(int64(res.Total), "way", "ways"))
}
