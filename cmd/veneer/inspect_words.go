package main

import (
	"encoding/json"
	"fmt"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
)

// inspectWords is an image as the templates of veneer inspect see it. The first
// fields are docker's.
type inspectWords struct {
	Id           string //nolint:revive,staticcheck // docker's spelling
	RepoTags     []string
	Created      string
	Author       string
	Architecture string
	Variant      string
	Os           string
	Size         int64
	Config       configWords
	RootFS       rootFSWords

	// Name is the stored name. Digest is the manifest's.
	Name     string
	Digest   string
	ChainID  string
	Manifest map[string]any
}

type rootFSWords struct {
	Type   string
	Layers []string
}

// configWords has the fields that templates may name, and is written as JSON with
// all that are stored.
type configWords struct {
	dockerspec.DockerOCIImageConfig

	stored json.RawMessage
}

// MarshalJSON implements [json.Marshaler].
func (c configWords) MarshalJSON() ([]byte, error) { //nolint:unparam // the interface has the error
	if c.stored == nil {
		return []byte("null"), nil
	}
	return c.stored, nil
}

func wordsOfInspect(img *veneer.Image) (*inspectWords, error) {
	w := &inspectWords{
		Id: img.Record.Target.Digest.String(), Author: img.Config.Author, Architecture: img.Platform.Architecture,
		Variant: img.Platform.Variant, Os: img.Platform.OS, RootFS: rootFSWords{Type: img.Config.RootFS.Type},
		Name: img.Record.Name, Digest: img.Manifest.Digest.String(), ChainID: img.ChainID.String(),
	}
	if w.Id == "" {
		w.Id = w.Digest // The platform was asked for by its manifest's digest.
	}
	if repository, tag := veneer.SplitName(w.Name); tag != "" {
		w.RepoTags = []string{repository + ":" + tag}
	}
	if t := img.Config.Created; t != nil {
		w.Created = t.UTC().Format(time.RFC3339Nano)
	}
	for i, l := range img.Layers {
		w.Size += l.Size
		w.RootFS.Layers = append(w.RootFS.Layers, img.DiffIDs[i].String())
	}
	var doc struct{ Config json.RawMessage }
	err := json.Unmarshal(img.ConfigJSON, &doc)
	if err == nil && doc.Config != nil {
		w.Config.stored = doc.Config
		err = json.Unmarshal(doc.Config, &w.Config.DockerOCIImageConfig)
	}
	if err == nil {
		err = json.Unmarshal(img.ManifestJSON, &w.Manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", img.Name, err)
	}
	return w, nil
}
