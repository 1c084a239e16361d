package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
		row.CreatedBy, row.Comment = plainText(s.CreatedBy), plainText(s.Comment)
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
	before := map[string]field{}
	if old != nil {
		if before, err = fields(old); err != nil {
			return nil, err
		}
	}
	holdNow, heldBefore := parents(now), parents(before)
	all := maps.Clone(before)
	maps.Copy(all, now)
	var rows []configRow
	for _, k := range slices.Sorted(maps.Keys(all)) {
		x, had := before[k]
		y, has := now[k]
		if !has && emptied(x, k, holdNow) || !had && emptied(y, k, heldBefore) {
			continue
		}
		rows = append(rows, configRow{
			Key: nameText(all[k].name), Old: x.shown(), New: y.shown(), NoOld: !had, NoNew: !has, Differs: old != nil && (had != has || x != y),
		})
	}
	return rows, nil
}

// emptied tells whether a field is an object or a list without members, where the other config has members, which
// have rows of their own.
func emptied(f field, key string, others map[string]bool) bool {
	return f.json && (f.value == "{}" || f.value == "[]") && others[key]
}

// parents are the keys of what holds fields.
func parents(fields map[string]field) map[string]bool {
	all := map[string]bool{}
	for k := range fields {
		for i := strings.LastIndexByte(k, 0); i > 0; i = strings.LastIndexByte(k[:i], 0) {
			all[k[:i]] = true
		}
	}
	return all
}

// field is one field of a config.
type field struct {
	name, value string
	// json: the value is no text.
	json bool
}

// shown is a field's value. JSON escapes backslashes itself.
func (f field) shown() string {
	if f.json {
		return plainText(f.value)
	}
	return nameText(f.value)
}

// fields are a config's, by what sorts them and tells them apart. Of lists that people
// read as lists, such as variables and labels, each entry is a field.
func fields(d *veneer.Dissected) (map[string]field, error) {
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(d.ConfigJSON, &all); err != nil {
		return nil, fmt.Errorf("read config of %s: %w", d.Name, err)
	}
	delete(all, "history")
	delete(all, "rootfs")
	flat := flatFields{}
	for k, v := range all {
		flat.add([]string{k}, v)
	}
	return flat, nil
}

type flatFields map[string]field

// put adds a field. Its name has a dot between names; a name that has one itself is
// quoted, but not the third, which is the last. NUL sorts before all that is in names.
func (flat flatFields) put(names []string, f field) {
	parts := slices.Clone(names)
	for i := range min(2, len(parts)) {
		if strings.ContainsAny(parts[i], `."`) {
			parts[i] = strconv.Quote(parts[i])
		}
	}
	f.name = strings.Join(parts, ".")
	key := strings.Join(parts, "\x00")
	for n := 2; ; n++ { // a variable may be there several times
		if _, there := flat[key]; !there {
			break
		}
		key = fmt.Sprintf("%s\x00\x00%06d", strings.Join(parts, "\x00"), n)
		f.name = fmt.Sprintf("%s (%d)", strings.Join(parts, "."), n)
	}
	flat[key] = f
}

func (flat flatFields) add(names []string, value json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil && len(object) > 0 && len(names) < 3 {
		for k, v := range object {
			flat.add(append(slices.Clone(names), k), v)
		}
		return
	}
	var list []string
	if names[len(names)-1] == "Env" && len(names) == 2 && json.Unmarshal(value, &list) == nil && len(list) > 0 {
		for _, env := range list {
			k, v, has := strings.Cut(env, "=")
			if !has {
				v = "no value, and no =" // runc refuses it, and takes A= as an empty one.
			}
			flat.put(append(slices.Clone(names), k), field{value: v, json: !has})
		}
		return
	}
	var text *string
	if json.Unmarshal(value, &text) == nil && text != nil {
		flat.put(names, field{value: *text})
		return
	}
	var b bytes.Buffer
	if json.Compact(&b, value) == nil {
		flat.put(names, field{value: b.String(), json: true})
	}
}
