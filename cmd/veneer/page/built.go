package page

import (
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
)

// maxSteps bounds the rows of the table of steps. A row takes some 600 bytes and the
// step's name.
const maxSteps = 1000

// builtRow is a step of a build. From and Wide are thousandths of the whole build.
type builtRow struct {
	Name, Where, When string
	Took, Stored      string
	Cached            bool
	From, Wide        int64
	Layer             int // of the image, from 1; 0: none
}

// leastWide is how much of the picture the shortest step takes, so that it is seen.
const leastWide = 3

// built shows the steps of the build that made the image; none: nothing of it is known.
func (v *view) built(steps []veneer.DockerfileStep) {
	if len(steps) == 0 {
		return
	}
	numbers := map[string]int{}
	for _, l := range v.Layers {
		numbers[l.Desc.Digest.String()] = l.Number
	}
	var whole float64
	var cached, stored int64
	seen := map[digest.Digest]bool{"": true} // Two steps can make the same layer.
	for i := range steps {
		s := &steps[i]
		whole = max(whole, s.Started+s.Seconds)
		if s.Cached {
			cached++
		}
		if !seen[s.Layer] {
			seen[s.Layer] = true
			stored += s.Bytes
		}
	}
	for i := range steps[:min(len(steps), maxSteps)] {
		v.Steps = append(v.Steps, rowOf(&steps[i], whole, numbers))
	}
	v.StepsMore = int64(len(steps) - len(v.Steps))
	v.Built = []fact{
		{"Time", secondsText(whole), "until the last step ended"},
		{"Steps", countText(int64(len(steps))), "with those that fetch or unpack what is needed"},
		{"Cached", countText(cached), "that an earlier build had done"},
		{"Stored", bytesText(stored), "in " + layersText(len(seen)-1) + " that steps made"},
	}
}

func rowOf(s *veneer.DockerfileStep, whole float64, numbers map[string]int) builtRow {
	row := builtRow{Name: nameText(s.Name), Cached: s.Cached, Took: secondsText(s.Seconds), Layer: numbers[s.Layer.String()]}
	row.When = secondsText(s.Seconds) + ", from " + secondsText(s.Started) + " on"
	var where []string
	if s.Line > 0 {
		where = append(where, "line "+countText(int64(s.Line)))
	}
	for _, p := range s.Platforms {
		where = append(where, nameText(p))
	}
	row.Where = strings.Join(where, ", ")
	if s.Layer != "" {
		row.Stored = bytesText(s.Bytes)
	}
	if whole > 0 {
		row.Wide = min(1000, max(leastWide, int64(s.Seconds/whole*1000)))
		row.From = min(1000-row.Wide, int64(s.Started/whole*1000))
	}
	return row
}

// secondsText is a time in seconds, from a minute on with minutes.
func secondsText(s float64) string {
	if s >= 60 {
		return countText(int64(s)/60) + " min " + strconv.FormatInt(int64(s)%60, 10) + " s"
	}
	return strconv.FormatFloat(s, 'f', 1, 64) + " s"
}
