package content

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// ImageUsage is the space that an image's blobs take, under all of its names.
type ImageUsage struct {
	Names  []string      `json:"names"`
	Target digest.Digest `json:"target"`
	// Bytes are those of all blobs that are here. Shared are those of blobs that other
	// images have too. Unique is the rest, which goes with the image.
	Bytes  int64 `json:"bytes"`
	Shared int64 `json:"shared_bytes"`
	Unique int64 `json:"unique_bytes"`
}

// Usage sums up the space of listed images, in order of their first names. total
// counts each blob once.
func Usage(list []Listed) (images []ImageUsage, total int64) {
	first := map[digest.Digest]*Listed{}
	users := map[digest.Digest]int{}
	var order []digest.Digest
	names := map[digest.Digest][]string{}
	for i := range list {
		target := list[i].Record.Target.Digest
		names[target] = append(names[target], list[i].Record.Name)
		if first[target] != nil {
			continue
		}
		first[target] = &list[i]
		order = append(order, target)
		for blob, size := range list[i].blobs {
			if users[blob]++; users[blob] == 1 {
				total += size
			}
		}
	}
	for _, target := range order {
		u := ImageUsage{Names: names[target], Target: target}
		slices.Sort(u.Names)
		for blob, size := range first[target].blobs {
			u.Bytes += size
			if users[blob] > 1 {
				u.Shared += size
			} else {
				u.Unique += size
			}
		}
		images = append(images, u)
	}
	return images, total
}

// Users are the names of the listed images that have a blob here.
func Users(list []Listed, blob digest.Digest) []string {
	var names []string
	for i := range list {
		if _, has := list[i].blobs[blob]; has {
			names = append(names, list[i].Record.Name)
		}
	}
	return names
}
