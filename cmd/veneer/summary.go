package main

import (
	"fmt"
	"strings"

	"github.com/veneer-build/veneer"
)

func metadataOf(res *veneer.Result) metadata {
	m := metadata{
		Digest:     res.Digest.String(),
		Descriptor: res.Target,
		Name:       strings.Join(res.Names, ","),
		Veneer:     res,
	}
	if res.Dockerfile != nil {
		m.Steps = res.Dockerfile.Done
	}
	return m
}

// summaryText tells people what was built, in two lines.
func summaryText(res *veneer.Result) string {
	name := "an image without a name"
	switch {
	case len(res.Names) > 0:
		name = strings.Join(res.Names, ", ")
	case res.Unchanged:
		name = "the base itself"
	}
	if d := res.Dockerfile; d != nil {
		return dockerfileText(name, res, d)
	}
	text := fmt.Sprintf("%s on %s, %.1f s\n", name, printable(res.Base), res.Seconds)
	text += squashedText(res)
	switch {
	case len(res.Manifests) > 0:
		return text + platformsText(res)
	case res.Layer != nil:
		return text + fmt.Sprintf("layer %s: %s, %s uncompressed; %s",
			res.Layer.Digest, bytesText(res.Layer.Size), bytesText(res.Layer.UncompressedSize), changesText(res.Changes))
	case res.Unchanged:
		return text + "nothing differs from the base: the result is the base's own manifest"
	}
	return text + "no file differs from the base: no layer, only the config or the manifest is new"
}

// squashedText is a line about a base that had become deep, or nothing.
func squashedText(res *veneer.Result) string {
	if res.Squashed == 0 {
		return ""
	}
	return countText(int64(res.Squashed), "layer", "layers") + " of the base squashed\n"
}

// dockerfileText tells what a Dockerfile made, and what its steps would have
// stored where that is another thing.
func dockerfileText(name string, res *veneer.Result, d *veneer.DockerfileResult) string {
	text := fmt.Sprintf("%s, %.1f s; %s (%d FROM), %d of them cached\n",
		name, res.Seconds, countText(int64(d.Images+d.Steps), "step", "steps"), d.Images, d.Cached)
	if len(res.Manifests) > 0 {
		return text + dockerfilePlatforms(res)
	}
	if res.Base == "" {
		var size int64
		for _, l := range d.Layers {
			size += l.Size
		}
		return text + fmt.Sprintf("%s on the base: %s, for files of %s", countText(int64(len(d.Layers)), "layer", "layers"), bytesText(size), bytesText(d.StepBytes))
	}
	text += squashedText(res) + "onto " + printable(res.Base) + ": "
	if res.Layer == nil {
		text += "no file differs, and there is no layer"
	} else {
		text += fmt.Sprintf("layer %s: %s, %s uncompressed; %s",
			res.Layer.Digest, bytesText(res.Layer.Size), bytesText(res.Layer.UncompressedSize), changesText(res.Changes))
	}
	return text + fmt.Sprintf("\nwithout --onto the layers would have held files of %s", bytesText(d.StepBytes))
}

// dockerfilePlatforms has a line for each platform's image.
func dockerfilePlatforms(res *veneer.Result) string {
	var lines []string
	for _, m := range res.Manifests {
		line := m.Platform + " " + m.Digest.String() + ": "
		switch {
		case m.Base == "":
			line += fmt.Sprintf("%s on the base", countText(int64(len(m.Dockerfile.Layers)), "layer", "layers"))
		case m.Layer == nil:
			line += "onto " + printable(m.Base) + ": no file differs, and there is no layer"
		default:
			line += fmt.Sprintf("onto %s: layer %s: %s; %s", printable(m.Base), m.Layer.Digest, bytesText(m.Layer.Size), changesText(m.Changes))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// platformsText has a line for each platform's image.
func platformsText(res *veneer.Result) string {
	var lines []string
	for _, m := range res.Manifests {
		line := m.Platform + " " + m.Digest.String() + ": "
		switch {
		case m.Layer != nil:
			line += fmt.Sprintf("layer %s: %s; %s", m.Layer.Digest, bytesText(m.Layer.Size), changesText(m.Changes))
		case m.Unchanged:
			line += "as in the base"
		default:
			line += "no layer, only the config or the manifest is new"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// changesText counts changes by kind.
func changesText(s veneer.Summary) string {
	text := fmt.Sprintf("%d added, %d modified, %d deleted", s.Added.Count, s.Modified.Count, s.Deleted.Count)
	if m := s.MetadataOnly; m.Count > 0 {
		text += fmt.Sprintf(" (%s in %s for metadata alone)", bytesText(m.Bytes), countText(m.Count, "file", "files"))
	}
	return text
}
