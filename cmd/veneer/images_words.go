package main

import (
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/veneer-build/veneer"
)

// imageWords is an image as the templates of --format see it. The first fields are
// docker's, and have the form that they have there.
type imageWords struct {
	ID           string
	Repository   string
	Tag          string
	Digest       string
	CreatedSince string
	CreatedAt    string
	Size         string

	// Name is the stored name, and UpdatedAt when it was last set.
	Name      string
	UpdatedAt string
	Platforms []string
	Labels    map[string]string
}

// imageHeading are the headings of columns, docker's where it has them.
var imageHeading = map[string]string{
	"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
	"CreatedAt": "CREATED AT", "Size": "SIZE", "Name": "NAME", "UpdatedAt": "UPDATED", "Platforms": "PLATFORM", "Labels": "LABELS",
}

// wordsOfImage returns the words. created and labels are those of the config.
func wordsOfImage(r *imageRow, created time.Time, labels map[string]string, full bool, now time.Time) imageWords {
	w := imageWords{
		ID: r.Target.Digest.String(), Digest: r.Target.Digest.String(), Name: oneLine(r.Name), Size: dockerSize(r.Size),
		UpdatedAt: timeText(r.UpdatedAt), Platforms: r.Platforms, Labels: labels,
	}
	if !full {
		w.ID = shortID(w.ID)
	}
	w.Repository, w.Tag = veneer.SplitName(w.Name)
	if w.Tag == "" {
		w.Tag = noneText
	}
	w.CreatedAt, w.CreatedSince = dockerTimes(created, now)
	return w
}

// dockerSize formats a size as docker's templates do.
func dockerSize(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// dockerTimes formats a time as docker's .CreatedAt and .CreatedSince, in UTC.
func dockerTimes(t, now time.Time) (at, since string) {
	if t.IsZero() {
		return "N/A", "N/A"
	}
	return strings.TrimSpace(t.UTC().Truncate(time.Second).String()), units.HumanDuration(now.Sub(t)) + " ago"
}
