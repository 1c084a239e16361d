package dockerfile

import (
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gw "github.com/moby/buildkit/frontend/gateway/client"
)

// outcomes reads what the frontend made of the file.
func (s *solver) outcomes(res *gw.Result) ([]*Outcome, error) {
	if len(s.Platforms) == 0 {
		ref, err := res.SingleRef()
		if err != nil {
			return nil, fmt.Errorf("read what the Dockerfile makes: %w", err)
		}
		out, err := s.outcome(ref, res.Metadata, "")
		return []*Outcome{out}, err
	}
	var listed exptypes.Platforms
	if err := json.Unmarshal(res.Metadata[exptypes.ExporterPlatformsKey], &listed); err != nil {
		return nil, fmt.Errorf("read the platforms that the Dockerfile makes: %w", err)
	}
	var all []*Outcome
	for _, p := range listed.Platforms {
		ref, ok := res.FindRef(p.ID)
		if !ok {
			return nil, fmt.Errorf("read what the Dockerfile makes: there is nothing for %s", p.ID)
		}
		out, err := s.outcome(ref, res.Metadata, "/"+p.ID)
		if err != nil {
			return nil, err
		}
		out.Platform = p.Platform
		all = append(all, out)
	}
	return all, nil
}

// outcome reads what was made for one platform, whose metadata has the suffix.
func (s *solver) outcome(ref gw.Reference, metadata map[string][]byte, suffix string) (*Outcome, error) {
	out := &Outcome{s: s, ConfigJSON: metadata[exptypes.ExporterImageConfigKey+suffix]}
	if err := json.Unmarshal(out.ConfigJSON, &out.Config); err != nil {
		return nil, fmt.Errorf("read the image's config: %w", err)
	}
	out.Platform = out.Config.Platform
	if below := metadata[exptypes.ExporterImageBaseConfigKey+suffix]; below != nil {
		if err := json.Unmarshal(below, &out.below); err != nil {
			return nil, fmt.Errorf("read the base's config: %w", err)
		}
	}
	if r, ok := ref.(*reference); ok && r != nil {
		out.vertex = r.v
	}
	return out, nil
}

// Count counts the steps of several outcomes, each step once, and those of them
// that an earlier build had done. Steps that are left to a comparison count.
func Count(all []*Outcome) (steps, cached int) {
	if len(all) == 0 {
		return 0, 0
	}
	return all[0].s.count(all...)
}

func (s *solver) count(all ...*Outcome) (steps, cached int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, out := range all {
		out.vertex.each(seen, func(v *vertex) {
			if v.op.GetFile() != nil || v.op.GetExec() != nil {
				steps++
				if s.cached[v.id()] {
					cached++
				}
			}
		})
	}
	return steps, cached
}

// each calls fn for the vertex and all that it depends on, but for those of the IDs
// that were seen. The vertex may be nil, which is none.
func (v *vertex) each(seen map[string]bool, fn func(*vertex)) {
	if v == nil || seen[v.id()] {
		return
	}
	seen[v.id()] = true
	fn(v)
	for _, in := range v.inputs {
		in.each(seen, fn)
	}
}
