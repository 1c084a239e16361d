package dockerfile

import (
	"encoding/json"
	"fmt"
	"strings"

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

// Counts are how many steps were needed.
type Counts struct {
	// Images are those that stages begin with. A [StepsWatcher] is told of them and of
	// Steps together.
	Images int
	// Steps are COPY, ADD, WORKDIR and RUN. Those that are left to a comparison count.
	Steps int
	// Cached are those of Steps that earlier builds had done.
	Cached int
}

// Count counts the steps of several outcomes, each step once.
func Count(all []*Outcome) Counts {
	if len(all) == 0 {
		return Counts{}
	}
	return all[0].s.count(all...)
}

func (s *solver) count(all ...*Outcome) (c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, out := range all {
		out.vertex.each(seen, func(v *vertex) {
			switch {
			case v.op.GetSource() != nil:
				if v.numbered() {
					c.Images++
				}
				return
			case v.numbered():
				c.Steps++
			}
			if s.cached[v.id()] {
				c.Cached++
			}
		})
	}
	return c
}

// numbered reports whether a vertex is a step that the frontend numbers, as in [2/3].
// These are the images that a stage begins with, and what is done there, but not the
// directories, files and repositories that are used in it.
func (v *vertex) numbered() bool {
	scheme, _, _ := strings.Cut(v.op.GetSource().GetIdentifier(), "://")
	return scheme == "" || scheme == "docker-image" || scheme == "oci-layout"
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
