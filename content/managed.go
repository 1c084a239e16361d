package content

import (
	"context"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
)

// A kubelet knows an image by three names, as containerd's CRI plugin records
// them (containerd internal/cri/server/images): the tag that was pulled, the
// same repository with the digest, and the image's ID. The latter two go with
// the first.

// kubernetes is the namespace in which the CRI plugin keeps its images.
const kubernetes = "k8s.io"

// The label of the CRI plugin's own records, and its value.
const (
	labelManaged = "io.cri-containerd.image"
	managedValue = "managed"
)

// pairOf returns the record by digest that the CRI plugin would make for an image
// of this name. A pod that asks for NAME@DIGEST finds the image only by that
// record.
func pairOf(ctx context.Context, img images.Image) (images.Image, bool) {
	ns, _ := namespaces.Namespace(ctx)
	repo := repositoryOf(img.Name)
	if ns != kubernetes || repo == "" || isAlias(img) || isDigested(img.Name) {
		return images.Image{}, false
	}
	return images.Image{
		Name: repo + "@" + img.Target.Digest.String(), Target: img.Target, Labels: map[string]string{labelManaged: managedValue},
	}, true
}

// isAlias reports whether a record is the CRI plugin's, under an image's ID. It
// makes one for each image.
func isAlias(img images.Image) bool {
	return img.Labels[labelManaged] == managedValue && digest.Digest(img.Name).Validate() == nil
}

// isPair reports whether a record may be the one by digest that belongs to a tag.
func isPair(img images.Image) bool {
	return img.Labels[labelManaged] == managedValue && repositoryOf(img.Name) != "" && img.Name == repositoryOf(img.Name)+"@"+img.Target.Digest.String()
}

// accompanies reports whether a record by digest belongs to the tag of one of these
// images.
func accompanies(pair images.Image, all []images.Image) bool {
	return isPair(pair) && slices.ContainsFunc(all, func(img images.Image) bool {
		return !isAlias(img) && !isPair(img) && img.Target.Digest == pair.Target.Digest && repositoryOf(img.Name) == repositoryOf(pair.Name)
	})
}

// rank orders the records of one image: what stands for it is the name that
// somebody gave, if there is one.
func rank(img images.Image) int {
	switch {
	case isAlias(img):
		return 2
	case isPair(img):
		return 1
	}
	return 0
}

// companions returns those of all records that go when the given ones do: names
// by digest whose last tag goes, and the ID of an image that has no name then.
func companions(all, gone []images.Image) []images.Image {
	going := map[string]bool{}
	for _, img := range gone {
		going[img.Name] = true
	}
	var more []images.Image
	take := func(which func(img images.Image, staying []images.Image) bool) {
		staying := slices.DeleteFunc(slices.Clone(all), func(img images.Image) bool { return going[img.Name] })
		for _, img := range staying {
			if which(img, staying) {
				more, going[img.Name] = append(more, img), true
			}
		}
	}
	take(func(img images.Image, staying []images.Image) bool {
		return accompanies(img, gone) && !accompanies(img, staying)
	})
	take(func(img images.Image, staying []images.Image) bool {
		same := func(other images.Image) bool { return other.Target.Digest == img.Target.Digest }
		named := func(other images.Image) bool { return same(other) && !isAlias(other) }
		return isAlias(img) && slices.ContainsFunc(gone, same) && !slices.ContainsFunc(staying, named)
	})
	return more
}
