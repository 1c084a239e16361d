package page

import (
	"context"
	"strings"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"github.com/veneer-build/veneer"
)

// view is what the template shows.
type view struct {
	Name, Old      string
	Version        string
	Policy         string
	CSS            template.CSS
	JS             template.JS
	Data           *data
	Facts          []fact
	Costs, Differs []fact // of the old image
	Layers         []layerRow
	Largest        []fileRow
	Waste          []fact
	Wasted, Same   []fileRow
	Changed        []fileRow
	Config         []configRow
	History        []stepRow
	OldHistory     []stepRow
	Built          []fact
	Steps          []builtRow
	StepsMore      int64
	Warnings       []string
	Note           string // of the search
	HiddenMore     int64
	ChangedMore    int64
	LargestOf      int64
	HasOld         bool
	Unchanged      bool
	HasSharers     bool
	ConfigDiffers  int
}

// fact is a number with its name.
type fact struct{ Name, Value, Note string }

// layerRow is a layer in the table. Stored and Unpacked of the picture are thousandths of
// the widest bar.
type layerRow struct {
	veneer.AnatomyLayer
	Number                 int
	By                     string
	Bar, Barred, HiddenBar int64
	Rest                   int64 // of Barred beside HiddenBar
	Sharers                []string
	MoreSharers            int
	InOld                  bool
}

// fileRow is a line about a file.
type fileRow struct {
	Path  string
	Paths []string
	Bytes int64
	Count int64
	What  string
	Layer int // from 1; 0: none
	By    int
}

type configRow struct {
	Key, Old, New string
	NoOld, NoNew  bool // the config lacks the field
	Differs       bool
}

type stepRow struct {
	veneer.HistoryStep
	Number int // of the layer, from 1; 0: none
	Shared bool
}

func viewOf(ctx context.Context, d *veneer.Dissection) (*view, error) {
	v := &view{Name: nameText(d.New.Name)}
	var err error
	if v.Data, err = dataOf(ctx, d.New.Parts); err != nil {
		return nil, err
	}
	if v.Data.Known < v.Data.All {
		v.Note = "The page knows the " + countText(int64(v.Data.Known)) + " largest of " + countText(int64(v.Data.All)) + " paths."
	}
	for _, w := range d.Warnings {
		v.Warnings = append(v.Warnings, nameText(w.Text))
	}
	v.facts(&d.New)
	v.layers(d)
	v.largest(d.New.Parts)
	v.waste(d.Waste)
	v.History = steps(&d.New, d.Old)
	if d.Old != nil {
		v.HasOld, v.Old = true, nameText(d.Old.Name)
		v.Unchanged = d.Old.Manifest.Digest == d.New.Manifest.Digest
		v.OldHistory = steps(d.Old, &d.New)
		v.costs(d)
	}
	if v.Config, err = configRows(&d.New, d.Old); err != nil {
		return nil, err
	}
	for _, c := range v.Config {
		if c.Differs {
			v.ConfigDiffers++
		}
	}
	return v, nil
}

func (v *view) facts(d *veneer.Dissected) {
	v.Facts = []fact{
		{"Stored", bytesText(d.Parts.Stored().Bytes), "in " + layersText(len(d.Parts.Layers)) + ", as a registry sends them"},
		{"Unpacked", bytesText(d.Parts.Shown.Bytes), "what a container sees"},
		{"Files", countText(d.Parts.Shown.Files), "in " + directoriesText(d.Parts.ShownDirs)},
		{"Platform", strings.Join([]string{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}, "/"), ""},
		{"Digest", shortDigest(d.Manifest.Digest), d.Manifest.Digest.String()},
	}
	v.Facts[3].Value = strings.TrimSuffix(v.Facts[3].Value, "/")
	if c := d.Config.Created; c != nil {
		v.Facts[4].Note = "created " + timeText(c) + " UTC"
	}
}

// sharersNamed is how many images are named that have a layer, too: a base may have
// hundreds.
const sharersNamed = 6

func (v *view) layers(d *veneer.Dissection) {
	parts := d.New.Parts
	most := int64(1)
	for i := range parts.Layers {
		most = max(most, parts.Layers[i].Stored, parts.Layers[i].Unpacked.Bytes)
	}
	old := map[string]bool{}
	if d.Old != nil {
		for _, l := range d.Old.Layers {
			old[l.Digest.String()] = true
		}
	}
	by := map[int]string{}
	for _, s := range steps(&d.New, nil) {
		by[s.Number] = s.CreatedBy
	}
	for i := range parts.Layers {
		l := &parts.Layers[i]
		row := layerRow{AnatomyLayer: *l, Number: i + 1, By: by[i+1], InOld: old[l.Desc.Digest.String()]}
		row.Bar, row.Barred, row.HiddenBar = share(l.Stored, most), share(l.Unpacked.Bytes, most), share(l.Hidden.Bytes, most)
		row.Rest = row.Barred - row.HiddenBar
		names := d.New.Sharers[l.Desc.Digest]
		for _, name := range names[:min(sharersNamed, len(names))] {
			row.Sharers = append(row.Sharers, nameText(name))
		}
		row.MoreSharers = len(names) - len(row.Sharers)
		v.HasSharers = v.HasSharers || len(row.Sharers) > 0
		v.Layers = append(v.Layers, row)
	}
}

// listed is how many files the table of the largest has.
const listed = 100

func (v *view) largest(parts *veneer.Anatomy) {
	whole := parts.Whole()
	for _, f := range whole.Largest(listed) {
		m, _ := whole.Mark(f)
		v.Largest = append(v.Largest, fileRow{Path: nameText(f.Path()), Bytes: m.Size(), Layer: int(m.Layer) + 1})
	}
	v.LargestOf = parts.Shown.Files
}

func (v *view) waste(w *veneer.Waste) {
	v.Waste = []fact{
		{"Replaced", bytesText(w.Replaced.Bytes), filesText(w.Replaced.Files) + " that an upper layer replaces with other content"},
		{"Deleted", bytesText(w.Deleted.Bytes), filesText(w.Deleted.Files) + " that an upper layer deletes"},
		{"Stored again", bytesText(w.Restored.Bytes), filesText(w.Restored.Files) + " that an upper layer has once more with the same content: for another owner, mode or time, or for no reason"},
		{"Copies", bytesText(w.Copies.Bytes), filesText(w.Copies.Files) + " with the same content as another file of the image"},
	}
	if w.Twice.Files > 0 {
		v.Waste = append(v.Waste, fact{"Twice in a layer", bytesText(w.Twice.Bytes), entriesText(w.Twice.Files) + " that a later one of the same layer replaces"})
	}
	for _, x := range w.Files {
		v.Wasted = append(v.Wasted, fileRow{
			Path: nameText(x.File.Path()), Bytes: x.Stored.Size(), What: x.By.Action.String(), Layer: int(x.Stored.Layer) + 1, By: int(x.By.Layer) + 1,
		})
	}
	v.HiddenMore = max(0, w.Hidden().Files-int64(len(v.Wasted)))
	for _, s := range w.Same {
		row := fileRow{Bytes: s.Spare(), Count: int64(len(s.Files))}
		for i, f := range s.Files {
			if i == samePaths {
				break
			}
			row.Paths = append(row.Paths, nameText(f.Path()))
		}
		v.Same = append(v.Same, row)
	}
}

// samePaths is how many paths are named of files with the same content.
const samePaths = 4

func (v *view) costs(d *veneer.Dissection) {
	c := d.Change
	thin := c.Thin()
	v.Costs = []fact{
		{"From a registry", bytesText(c.Fetch.Bytes), countText(c.Fetch.Files) + " of " + layersText(int(c.Fetch.Files+c.Have.Files)) + " to fetch; " + bytesText(c.Have.Bytes) + " are there already"},
		{"As a delta", bytesText(thin.Bytes), "before compression: " + filesText(thin.Files) + " in one thin layer, as veneer delta makes it"},
		{"On disk", bytesText(c.Unpack.Bytes), "unpacked, beside the old image: " + keptText(c.Kept)},
	}
	v.Differs = []fact{
		{"Added", bytesText(c.Added.Bytes), filesText(c.Added.Files)},
		{"Replaced", bytesText(c.Replaced.Bytes), filesText(c.Replaced.Files) + " with other content"},
		{"Metadata", bytesText(c.Metadata.Bytes), filesText(c.Metadata.Files) + " with the same content and another owner, mode, time, attribute or hard link"},
		{"Removed", bytesText(c.Removed.Bytes), filesText(c.Removed.Files)},
	}
	if c.Dirs > 0 {
		v.Differs = append(v.Differs, fact{"Directories", countText(c.Dirs), "added, removed, or with another owner, mode or attribute"})
	}
	for _, f := range c.Files {
		row := fileRow{Path: nameText(f.Path), Bytes: f.Bytes, What: changeText(f.Kind)}
		if f.Dir {
			row.Path += "/"
		}
		v.Changed = append(v.Changed, row)
	}
	v.ChangedMore = thin.Files + c.Removed.Files + c.Dirs - int64(len(v.Changed))
}

func keptText(layers int) string {
	switch layers {
	case 0:
		return "it has no lowest layers in common"
	case 1:
		return "its lowest layer is the same"
	}
	return "its lowest " + layersText(layers) + " are the same"
}

func changeText(a veneer.AnatomyAction) string {
	switch a {
	case veneer.FileAdded:
		return "added"
	case veneer.FileDeleted:
		return "removed"
	case veneer.FileRestored:
		return "metadata"
	}
	return "replaced"
}
