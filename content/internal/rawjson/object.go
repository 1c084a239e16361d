package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
)

// Object is a JSON object that can be edited. Members keep their order, and
// those that nobody edits keep their bytes.
type Object struct {
	members []member
	// fold: names are compared without regard to case, as encoding/json compares
	// them with a struct's fields: "env" is "Env".
	fold bool
}

type member struct {
	name  string
	value json.RawMessage
}

// New returns an object without members, as [Parse] returns them.
func New() *Object { return &Object{fold: true} }

// Parse reads an object whose members are a document's fields: their names are
// compared without regard to case. Two members of one name are refused, since
// it would depend on the reader which of them counts (CVE-2021-41190 is of that
// kind).
func Parse(data []byte) (*Object, error) { return parse(data, true) }

// ParseKnown is [Check] and [Parse] for a document of a stranger. It also
// refuses one of the known fields that is written in another case: encoding/json
// would take it for the field, other readers would not. Its errors wrap
// [errdefs.ErrInvalidArgument].
func ParseKnown(data []byte, known []string) (*Object, error) {
	if err := Check(data); err != nil {
		return nil, err
	}
	obj, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	for _, m := range obj.members {
		for _, k := range known {
			if m.name != k && strings.EqualFold(m.name, k) {
				return nil, fmt.Errorf("member %q is written %q: %w", k, m.name, errdefs.ErrInvalidArgument)
			}
		}
	}
	return obj, nil
}

func parse(data []byte, fold bool) (*Object, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if tok != json.Delim('{') {
		return nil, errors.New("parse JSON: not an object")
	}
	o := &Object{fold: fold}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("parse JSON: %w", err)
		}
		name, ok := tok.(string)
		if !ok {
			return nil, errors.New("parse JSON: member without a name")
		}
		key := name
		if fold {
			key = foldName(name)
		}
		if seen[key] {
			return nil, fmt.Errorf("parse JSON: member %q is there twice", name)
		}
		seen[key] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("parse JSON member %q: %w", name, err)
		}
		o.members = append(o.members, member{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse JSON: more than one value")
	}
	return o, nil
}

// foldName is the same for all names that [strings.EqualFold] finds equal: of
// the runes that fold to each other, it has the smallest.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		low := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			low = min(low, f)
		}
		return low
	}, name)
}

// index returns the position of the member, or -1.
func (o *Object) index(name string) int {
	return slices.IndexFunc(o.members, func(m member) bool {
		return m.name == name || o.fold && strings.EqualFold(m.name, name)
	})
}

// Len is the number of members.
func (o *Object) Len() int { return len(o.members) }

// Contains reports whether there is a member of that name, be it null.
func (o *Object) Contains(name string) bool { return o.index(name) >= 0 }

// Has reports whether there is a member of that name that is not null.
func (o *Object) Has(name string) bool {
	i := o.index(name)
	return i >= 0 && string(o.members[i].value) != "null"
}

// Get decodes a member into v, and leaves v alone where there is none or null.
func (o *Object) Get(name string, v any) error {
	i := o.index(name)
	if i < 0 {
		return nil
	}
	if err := json.Unmarshal(o.members[i].value, v); err != nil {
		return fmt.Errorf("parse JSON member %q: %w", name, err)
	}
	return nil
}

// Sub returns a member that is an object itself and has fields; an empty one
// where there is none or null. It is a copy: [Object.Set] puts it back.
func (o *Object) Sub(name string) (*Object, error) { return o.sub(name, true) }

// SubMap is [Object.Sub] for an object whose names are data, as those of labels
// are: case counts in them.
func (o *Object) SubMap(name string) (*Object, error) { return o.sub(name, false) }

func (o *Object) sub(name string, fold bool) (*Object, error) {
	if !o.Has(name) {
		return &Object{fold: fold}, nil
	}
	s, err := parse(o.members[o.index(name)].value, fold)
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", name, err)
	}
	return s, nil
}

// Set replaces a member in its place, or adds it at the end.
func (o *Object) Set(name string, v any) error {
	value, err := Encode(v)
	if err != nil {
		return fmt.Errorf("encode JSON member %q: %w", name, err)
	}
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return nil
	}
	o.members = append(o.members, member{name, value})
	return nil
}

// Remove takes a member out, if it is there.
func (o *Object) Remove(name string) {
	if i := o.index(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
	}
}

// MarshalJSON implements [json.Marshaler].
func (o *Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := Encode(m.name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Encode is json.Marshal, but leaves <, > and & as they are: rewriting them
// would change bytes that nobody edited.
func Encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
