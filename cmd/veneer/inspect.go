package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// inspected is an image as veneer inspect prints it. Its documents are printed as
// they are stored, so that no field is lost.
type inspected struct {
	Record   *inspectedRecord     `json:"record,omitempty"`
	Platform ocispec.Platform     `json:"platform"`
	Digest   string               `json:"digest"`
	ChainID  string               `json:"chain_id,omitempty"`
	Missing  []ocispec.Descriptor `json:"missing,omitempty"`
	Manifest json.RawMessage      `json:"manifest"`
	Config   json.RawMessage      `json:"config"`
}

type inspectedRecord struct {
	Name      string             `json:"name"`
	Target    ocispec.Descriptor `json:"target"`
	Labels    map[string]string  `json:"labels,omitempty"`
	CreatedAt time.Time          `json:"created_at"`
	UpdatedAt time.Time          `json:"updated_at"`
}

func (a *app) inspectCommand() *cobra.Command {
	var platform string
	var config, manifest bool
	format := newEnum("json", "json")
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show an image's record, manifest and config",
		Long: `Show an image's record, manifest and config as JSON, with all fields that are
stored. --config and --manifest print one of the documents byte for byte, so
that its digest can be checked.`,
		Example: `  veneer inspect app:2
  veneer inspect --config app:2
  veneer inspect --manifest app:2 | sha256sum`,
		Args: refArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(platform); err != nil {
				return err
			}
			return a.withReading(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				img, err := veneer.Inspect(ctx, e, args[0], platform)
				switch {
				case err != nil:
					return err
				case config:
					return a.printRaw(img.ConfigJSON)
				case manifest:
					return a.printRaw(img.ManifestJSON)
				}
				return printJSON(a.std.out, inspectedOf(img))
			})
		},
	}
	cmd.Flags().Var(&format, "format", "of the output: json")
	cmd.Flags().BoolVar(&config, "config", false, "print the config, byte for byte")
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the manifest, byte for byte")
	exclusive(cmd, "config", "manifest")
	bindPlatform(cmd, &platform)
	return cmd
}

func (a *app) printRaw(data []byte) error {
	if _, err := a.std.out.Write(data); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func inspectedOf(img *veneer.Image) inspected {
	i := inspected{
		Platform: img.Platform,
		Digest:   img.Manifest.Digest.String(),
		ChainID:  img.ChainID.String(),
		Missing:  img.Missing,
		Manifest: img.ManifestJSON,
		Config:   img.ConfigJSON,
	}
	if r := img.Record; r.Name != "" {
		i.Record = &inspectedRecord{Name: r.Name, Target: r.Target, Labels: r.Labels, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
	}
	return i
}
