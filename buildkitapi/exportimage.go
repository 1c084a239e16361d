package buildkitapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	epochtypes "github.com/moby/buildkit/exporter/exptypes"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/contentutil"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
)

// exportImage makes the image, and names, pushes or sends it.
func (x *solving) exportImage(ctx context.Context, res *gw.Result, e *controlapi.Exporter, id int) error {
	target, config, err := x.target(ctx, res, e)
	if err != nil {
		return err
	}
	x.response[exptypes.ExporterImageDigestKey] = target.Digest.String()
	if config != "" {
		x.response[exptypes.ExporterImageConfigDigestKey] = config.String()
	}
	data, err := json.Marshal(target)
	if err != nil {
		return err
	}
	x.response[exptypes.ExporterImageDescriptorKey] = base64.StdEncoding.EncodeToString(data)
	var names []string
	for _, n := range exporterNames(e) {
		name, err := content.NormalizeTag(n)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		x.response["image.name"] = strings.Join(names, ",")
	}
	if e.Type != "image" {
		if tar, err := strconv.ParseBool(e.Attrs["tar"]); err == nil && !tar {
			return contentutil.CopyChain(ctx, sessioncontent.NewCallerStore(x.caller.session, "export"), x.o.Engine.Client.ContentStore(), target)
		}
		return x.send(ctx, archive.Item{Names: names, Target: target}, id)
	}
	if err := x.session.Record(ctx, target, names, nil); err != nil {
		return err
	}
	if push, _ := strconv.ParseBool(e.Attrs["push"]); push {
		for _, n := range names {
			if _, err := veneer.Push(ctx, x.o.Engine, n, x.o.Registry); err != nil {
				return err
			}
		}
	}
	return nil
}

// send sends the image to the client as an archive.
func (x *solving) send(ctx context.Context, item archive.Item, id int) error {
	w, err := filesync.CopyFileWriter(ctx, maps.Clone(x.response), id, x.caller.session)
	if err != nil {
		return err
	}
	_, err = archive.Export(ctx, x.o.Engine.Client.ContentStore(), w, []archive.Item{item}, archive.ExportOptions{})
	return errors.Join(err, w.Close())
}

// target makes and stores the image, or an index of several. config is that of the
// last image.
func (x *solving) target(ctx context.Context, res *gw.Result, e *controlapi.Exporter) (target ocispec.Descriptor, config digest.Digest, err error) {
	all, err := images(res)
	if err != nil {
		return target, "", err
	}
	notes, err := annotations(e.Attrs)
	if err != nil {
		return target, "", err
	}
	var manifests []ocispec.Descriptor
	for _, img := range all {
		made, err := x.makeImage(ctx, res, img, e, notes)
		if err != nil {
			return target, "", err
		}
		d := ocispec.Descriptor{MediaType: made.Manifest.MediaType, Digest: made.Manifest.Digest, Size: made.Manifest.Size}
		p := made.Platform
		d.Platform = &p
		manifests, config = append(manifests, d), digest.FromBytes(made.ConfigJSON)
	}
	if !several(res) {
		manifests[0].Platform = nil
		return manifests[0], config, nil
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
	data, err := json.Marshal(index)
	if err != nil {
		return target, "", err
	}
	target = ocispec.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	labels := map[string]string{}
	for i, m := range manifests {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.m.%d", i)] = m.Digest.String()
	}
	return target, config, cstore.WriteBlob(ctx, x.o.Engine.Client.ContentStore(), "index-"+target.Digest.String(), bytes.NewReader(data), target, cstore.WithLabels(labels))
}

// makeImage makes the image of one platform. A result without a config, as a
// definition alone has none, gets that of an empty one.
func (x *solving) makeImage(ctx context.Context, res *gw.Result, img image, e *controlapi.Exporter, notes map[string]string) (*content.Image, error) {
	get := func(key string) []byte {
		if img.platform != "" {
			if data := res.Metadata[key+"/"+img.platform]; data != nil {
				return data
			}
		}
		return res.Metadata[key]
	}
	config := get(exptypes.ExporterImageConfigKey)
	if len(config) == 0 {
		p := platforms.DefaultSpec()
		if img.platform != "" {
			var err error
			if p, err = platforms.Parse(img.platform); err != nil {
				return nil, err
			}
		}
		var err error
		if config, err = json.Marshal(ocispec.Image{Platform: platforms.Normalize(p)}); err != nil {
			return nil, err
		}
	}
	out, err := x.solver.Outcome(ctx, img.ref, config, get(exptypes.ExporterImageBaseConfigKey))
	if err != nil {
		return nil, err
	}
	if out.LayerAnnotations, err = x.rewritten(e); err != nil {
		return nil, err
	}
	return out.Image(ctx, notes)
}

// rewritten are the annotations by which BuildKit says that a layer's times are
// bounded. All layers' are, as they are written, where there is a bound; a client that
// asks for the rewriting of times is told so.
func (x *solving) rewritten(e *controlapi.Exporter) (map[string]string, error) {
	text, asked := e.Attrs[string(exptypes.OptKeyRewriteTimestamp)]
	if !asked {
		return nil, nil
	}
	rewrite, err := strconv.ParseBool(text)
	epoch := x.solver.Epoch()
	if own, given := e.Attrs[string(epochtypes.OptKeySourceDateEpoch)]; err != nil || !rewrite || epoch == nil || given && own == "" {
		return nil, err
	}
	return map[string]string{"buildkit/rewritten-timestamp": strconv.FormatInt(epoch.Unix(), 10)}, nil
}

// annotations are those that the exporter is told for manifests.
func annotations(attrs map[string]string) (map[string]string, error) {
	notes := map[string]string{}
	for name, value := range attrs {
		key, ok, err := exptypes.ParseAnnotationKey(name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if key.Type != exptypes.AnnotationManifest || key.Platform != nil {
			return nil, fmt.Errorf("annotation %s: only those of all manifests are supported: %w", name, errors.ErrUnsupported)
		}
		notes[key.Key] = value
	}
	return notes, nil
}

// exporterNames are the names that the client gives an exported image, as it wrote them.
func exporterNames(e *controlapi.Exporter) []string {
	return slices.DeleteFunc(strings.Split(e.Attrs["name"], ","), func(n string) bool { return n == "" })
}

// exportedNames are those of all images that are stored here.
func exportedNames(req *controlapi.SolveRequest) (names []string) {
	for _, e := range req.Exporters {
		if e.Type == "image" {
			names = append(names, exporterNames(e)...)
		}
	}
	return names
}
