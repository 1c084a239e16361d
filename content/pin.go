package content

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
)

// The label that keeps an image from a kubelet's garbage collection (containerd
// internal/cri/labels), and its value. The CRI plugin calls an image pinned if one of
// its names is.
const (
	labelPinned = "io.cri-containerd.pinned"
	pinnedValue = "pinned"
)

// Pinned reports whether an image's record is pinned.
func Pinned(img images.Image) bool { return img.Labels[labelPinned] == pinnedValue }

// PinLabels are those with which [RecordImage] pins a name from its beginning.
func PinLabels() map[string]string { return map[string]string{labelPinned: pinnedValue} }

// Pin pins a name of an image, or with off takes the pin away, from the record by
// digest that belongs to the name as well. It returns the name. An ID stands
// for the image's name if it has just one. Pins stay when the name is given to another
// image.
func Pin(ctx context.Context, c Finder, ref string, off bool) (name string, err error) {
	img, err := findRecord(ctx, c, ref)
	if err != nil {
		return "", err
	}
	records := []images.Image{img}
	if off {
		all, err := c.ImageService().List(ctx)
		if err != nil {
			return "", fmt.Errorf("list images: %w", err)
		}
		for _, pair := range all {
			if Pinned(pair) && accompanies(pair, records[:1]) {
				records = append(records, pair)
			}
		}
	}
	for _, r := range records {
		value := pinnedValue
		if off {
			value = "" // which removes the label
		}
		// Just the label is changed, whatever image the name is of by now.
		_, err := c.ImageService().Update(ctx, images.Image{Name: r.Name, Labels: map[string]string{labelPinned: value}}, "labels."+labelPinned)
		if err != nil {
			return "", fmt.Errorf("pin image %s: %w", r.Name, err)
		}
	}
	return img.Name, nil
}
