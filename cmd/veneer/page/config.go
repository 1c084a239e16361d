package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/veneer-build/veneer"
)

// steps are an image's history, with those layers marked that another image has.
func steps(d, other *veneer.Dissected) []stepRow {
	has := map[string]bool{}
	if other != nil {
		for _, l := range other.Layers {
			has[l.Digest.String()] = true
		}
	}
	var rows []stepRow
	number := 0
	for _, s := range veneer.History(d.Image) {
		row := stepRow{HistoryStep: s}
		row.CreatedBy, row.Comment = nameText(s.CreatedBy), nameText(s.Comment)
		if s.Layer != nil {
			number++
			row.Number, row.Shared = number, has[s.Layer.Digest.String()]
		}
		rows = append(rows, row)
	}
	return rows
}

// configRows are the fields of two configs side by side. The history and the layers
// have their own places.
func configRows(d, old *veneer.Dissected) ([]configRow, error) {
	now, err := fields(d)
	if err != nil {
		return nil, err
	}
	before := map[string]string{}
	if old != nil {
		if before, err = fields(old); err != nil {
			return nil, err
		}
	}
	keys := map[string]bool{}
	for _, m := range []map[string]string{now, before} {
		for k := range m {
			keys[k] = true
		}
	}
	var rows []configRow
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		rows = append(rows, configRow{Key: nameText(k), Old: nameText(before[k]), New: nameText(now[k]), Differs: old != nil && before[k] != now[k]})
	}
	return rows, nil
}

// fields are a config's by their names, with a dot between names. Of lists that people
// read as lists, such as variables and labels, each entry is a field.
func fields(d *veneer.Dissected) (map[string]string, error) {
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(d.ConfigJSON, &all); err != nil {
		return nil, fmt.Errorf("read config of %s: %w", d.Name, err)
	}
	delete(all, "history")
	delete(all, "rootfs")
	flat := map[string]string{}
	for k, v := range all {
		flatten(flat, k, v)
	}
	return flat, nil
}

func flatten(flat map[string]string, key string, value json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil && object != nil && strings.Count(key, ".") < 2 {
		for k, v := range object {
			flatten(flat, key+"."+k, v)
		}
		return
	}
	var list []string
	if strings.HasSuffix(key, ".Env") && json.Unmarshal(value, &list) == nil {
		for _, env := range list {
			k, v, _ := strings.Cut(env, "=")
			flat[key+"."+k] = v
		}
		return
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		flat[key] = text
		return
	}
	var b bytes.Buffer
	if json.Compact(&b, value) == nil {
		flat[key] = b.String()
	}
}
