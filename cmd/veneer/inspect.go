package main

import (
	"encoding/json"
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
	CreatedAt time.Time          `json:"created_at,omitzero"`
	UpdatedAt time.Time          `json:"updated_at,omitzero"`
}

func (a *app) inspectCommand() *cobra.Command {
	var platform string
	var config, manifest bool
	var f registryFlags
	format := newRowFormat("json", inspectWords{})
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show an image's record, manifest and config",
		Long: `Show an image's record, manifest and config as JSON, with all fields that are
stored. --config and --manifest print one of the documents byte for byte, so
that its digest can be checked.

--format takes docker's templates, with docker's fields: .Id, .RepoTags, .Created,
.Author, .Architecture, .Variant, .Os, .Size (of the layers), .Config (.Cmd, .Env,
.Labels and so on) and .RootFS; and .Name, .Digest, .ChainID and .Manifest.

` + imageHelp,
		Example: `  veneer inspect app:2
  veneer inspect --format '{{json .Config}}' app:2
  veneer inspect --format '{{index .Config.Labels "org.example.team"}}' app:2
  veneer inspect --config app:2
  veneer inspect docker://registry.example.org/team/app:2
  veneer inspect --manifest app:2 | sha256sum`,
		Args: anyImageArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(platform); err != nil {
				return err
			}
			if format.text == "text" || format.columns {
				return usagef("--format %s: inspect prints JSON, or by a template such as '{{json .Config}}'", format.text)
			}
			return a.withImage(cmd.Context(), args[0], platform, &f, func(img *veneer.Image) error {
				switch {
				case config:
					return printRaw(a.std.out, img.ConfigJSON)
				case manifest:
					return printRaw(a.std.out, img.ManifestJSON)
				case format.rows != nil:
					words, err := wordsOfInspect(img)
					if err != nil {
						return err
					}
					return format.print(a.std.out, nil, words)
				}
				return printJSON(a.std.out, inspectedOf(img))
			})
		},
	}
	cmd.Flags().VarP(&format, "format", "f", "of the output: json, or as in docker a Go template")
	completeWords(cmd, map[string][]string{"format": {"json"}})
	cmd.Flags().BoolVar(&config, "config", false, "print the config, byte for byte")
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the manifest, byte for byte")
	exclusive(cmd, "config", "manifest", "format")
	bindPlatform(cmd, &platform)
	f.bind(cmd)
	return cmd
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
