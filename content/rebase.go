package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// Transplant returns a config whose settings are configJSON's and whose history
// and root file system are the base's: what an image has to be assembled of
// that runs like another one, but lies on the base. All that it does not know
// stays as configJSON has it.
func Transplant(configJSON []byte, base *Image) ([]byte, error) {
	cfg, err := rawjson.ParseKnown(configJSON, configFields)
	if err != nil {
		return nil, fmt.Errorf("edit image config: %w", err)
	}
	of, err := rawjson.ParseKnown(base.ConfigJSON, configFields)
	if err != nil {
		return nil, fmt.Errorf("read config of %s: %w", base.Name, err)
	}
	for _, field := range []string{"rootfs", "history"} {
		var raw json.RawMessage
		if err := of.Get(field, &raw); err != nil {
			return nil, fmt.Errorf("read config of %s: %w", base.Name, err)
		}
		if raw == nil {
			cfg.Remove(field)
			continue
		}
		if err := cfg.Set(field, raw); err != nil {
			return nil, fmt.Errorf("edit image config: %w", err)
		}
	}
	return rawjson.Encode(cfg)
}

// Annotated returns the base with another image's annotations in place of its
// own, for an image that is assembled on the base to have. Docker's manifests
// have none: then it is the base as it is.
func Annotated(base, like *Image) (*Image, error) {
	if base.Docker || like.Docker {
		return base, nil
	}
	m, err := rawjson.ParseKnown(base.ManifestJSON, manifestFields)
	if err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", base.Name, err)
	}
	annotations, err := annotationsOf(like)
	if err != nil {
		return nil, err
	}
	m.Remove("annotations")
	if len(annotations) > 0 {
		if err := m.Set("annotations", annotations); err != nil {
			return nil, fmt.Errorf("edit manifest of %s: %w", base.Name, err)
		}
	}
	as := *base
	as.ManifestJSON, err = rawjson.Encode(m)
	return &as, err
}

// BaseOf returns what an image's annotations say that it was built on, as
// references for [Resolve], the surest first (image-spec annotations.md);
// nothing where they do not say.
func BaseOf(img *Image) ([]string, error) {
	annotations, err := annotationsOf(img)
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, key := range []string{ocispec.AnnotationBaseImageDigest, ocispec.AnnotationBaseImageName} {
		if v := annotations[key]; v != "" {
			refs = append(refs, v)
		}
	}
	return refs, nil
}

func annotationsOf(img *Image) (map[string]string, error) {
	m, err := rawjson.ParseKnown(img.ManifestJSON, manifestFields)
	if err != nil {
		return nil, fmt.Errorf("read manifest of %s: %w", img.Name, err)
	}
	var annotations map[string]string
	if err := m.Get("annotations", &annotations); err != nil {
		return nil, fmt.Errorf("read annotations of %s: %w", img.Name, err)
	}
	return maps.Clone(annotations), nil
}

// OwnLayers counts the layers on top of an image that its history says Veneer
// made. Where the history does not fit the layers, it says nothing, and the
// count is 0.
func OwnLayers(img *Image) int {
	own, layers := 0, 0
	for _, h := range img.Config.History {
		if h.EmptyLayer {
			continue
		}
		layers++
		own++
		if !isOwn(h) {
			own = 0
		}
	}
	if layers != len(img.Layers) {
		return 0
	}
	return own
}

// isOwn recognises a history entry of ours.
func isOwn(h ocispec.History) bool {
	rest, ok := strings.CutPrefix(h.CreatedBy, "veneer")
	return ok && (rest == "" || rest[0] == ';' || rest[0] == ' ')
}

// Lower makes the image that the lowest n layers of another are: its config
// and annotations, with the history as far as it is about those layers. It is
// not stored.
func Lower(img *Image, n int) (*Image, error) {
	if n < 1 || n > len(img.Layers) {
		return nil, fmt.Errorf("take %d of the %d layers of %s: %w", n, len(img.Layers), img.Name, errdefs.ErrInvalidArgument)
	}
	configJSON, err := lowerConfig(img, img.DiffIDs[:n])
	if err != nil {
		return nil, fmt.Errorf("edit config of %s: %w", img.Name, err)
	}
	m, err := rawjson.ParseKnown(img.ManifestJSON, manifestFields)
	if err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
	}
	var layers []json.RawMessage
	err = m.Get("layers", &layers)
	if err == nil {
		err = errors.Join(m.Set("config", describe(configType(img.Docker), configJSON)), m.Set("layers", layers[:n]))
	}
	if err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
	}
	manifestJSON, err := rawjson.Encode(m)
	if err != nil {
		return nil, err
	}
	return newImage(img, slices.Clone(img.Layers[:n]), configJSON, manifestJSON)
}

func lowerConfig(img *Image, diffIDs []digest.Digest) ([]byte, error) {
	cfg, err := rawjson.ParseKnown(img.ConfigJSON, configFields)
	if err != nil {
		return nil, err
	}
	rootfs, err := cfg.Sub("rootfs")
	if err != nil {
		return nil, err
	}
	var history []json.RawMessage
	if err := cfg.Get("history", &history); err != nil {
		return nil, err
	}
	keep := lowerHistory(img.Config.History, len(diffIDs))
	if err := errors.Join(rootfs.Set("diff_ids", diffIDs), cfg.Set("rootfs", rootfs)); err != nil {
		return nil, err
	}
	if len(history) > 0 {
		if err := cfg.Set("history", history[:keep]); err != nil {
			return nil, err
		}
	}
	return rawjson.Encode(cfg)
}

// lowerHistory counts the entries about the lowest layers: up to the last of
// them, and the settings after it that are not ours.
func lowerHistory(history []ocispec.History, layers int) int {
	for i, h := range history {
		if layers == 0 && (!h.EmptyLayer || isOwn(h)) {
			return i
		}
		if !h.EmptyLayer {
			layers--
		}
	}
	return len(history)
}
