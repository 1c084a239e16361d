package dockerfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// vertex is one operation of a definition.
type vertex struct {
	digest digest.Digest
	op     *pb.Op
	meta   *pb.OpMetadata
	inputs []*vertex
	source *pb.Source
	// by is the first step that uses it; nil: none does.
	by *vertex

	// layered: its layer goes into the image. deferred: it is left to whoever
	// compares the result. sync: it was written as SYNC.
	layered, deferred, sync bool
}

// id tells the steps of one build apart: one whose layer is wanted is another than
// the same without, unless it is a source: that is got once.
func (v *vertex) id() string {
	if v.op.GetSource() != nil {
		return string(v.digest)
	}
	return fmt.Sprintf("%s %t %t", v.digest, v.layered, v.deferred)
}

// name is what people call it.
func (v *vertex) name() string { return asWritten(v.meta.GetDescription()["llb.customname"]) }

// named adds to an error which step it is about, unless the error says that
// already.
func (v *vertex) named(err error) error {
	if strings.HasPrefix(err.Error(), v.name()+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", v.name(), err)
}

// load reads a definition and returns the vertex of its result. nil: the result has
// no files. Only the first output of an operation is used, since the frontend uses
// no others.
func load(def *pb.Definition) (*vertex, error) {
	all := map[string]*vertex{}
	var ordered []*vertex
	var last *vertex
	for _, data := range def.GetDef() {
		op := &pb.Op{}
		if err := op.UnmarshalVT(data); err != nil {
			return nil, fmt.Errorf("read build definition: %w", err)
		}
		d := digest.FromBytes(data)
		last = &vertex{digest: d, op: op, meta: def.Metadata[string(d)], source: def.Source, sync: takeMark(op.GetFile())}
		all[string(d)] = last
		ordered = append(ordered, last)
	}
	for _, v := range ordered {
		for _, in := range v.op.Inputs {
			w := all[in.Digest]
			if w == nil {
				return nil, errors.New("read build definition: an input is missing")
			}
			if in.Index != 0 {
				return nil, fmt.Errorf("%s: output %d of a step is not supported", v.name(), in.Index)
			}
			v.inputs = append(v.inputs, w)
			if w.by == nil {
				w.by = v
			}
		}
	}
	if last == nil || len(last.inputs) == 0 {
		return nil, nil
	}
	return last.inputs[0], nil
}

// root returns the vertex whose files this one changes. nil: it begins without
// files.
func (v *vertex) root() *vertex {
	input := int64(-1)
	switch op := v.op.Op.(type) {
	case *pb.Op_Exec:
		for _, m := range op.Exec.Mounts {
			if m.Dest == "/" {
				input = m.Input
			}
		}
	case *pb.Op_File:
		if len(op.File.Actions) > 0 {
			input = op.File.Actions[0].Input
		}
	}
	if input < 0 || input >= int64(len(v.inputs)) {
		return nil
	}
	return v.inputs[input]
}

// plan marks the steps whose layers go into the result. With deferred, no layers
// are wanted, and the last file steps are not done.
func plan(v *vertex, deferred bool) {
	for tail := deferred; v != nil; v = v.root() {
		tail = tail && v.op.GetFile() != nil
		v.deferred, v.layered = tail, !deferred
	}
}

// located adds the place in the Dockerfile to an error. What has none, such as the file
// of an ADD's URL, takes that of the step that uses it.
func (v *vertex) located(err error) error {
	if err == nil || v.source == nil || len(errdefs.Sources(err)) > 0 {
		return err
	}
	if len(v.source.Locations[string(v.digest)].GetLocations()) == 0 && v.by != nil {
		return v.by.located(err)
	}
	for _, l := range v.source.Locations[string(v.digest)].GetLocations() {
		if int(l.SourceIndex) < len(v.source.Infos) {
			err = errdefs.WithSource(err, &errdefs.Source{Info: v.source.Infos[l.SourceIndex], Ranges: l.Ranges})
		}
	}
	return err
}
