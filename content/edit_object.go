package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// object is a JSON object that keeps the order of its members and the bytes of
// those that nobody touches, so that an edit shows in the result as nothing
// but itself.
type object struct {
	members []member
	// fold: the names are those of a Go struct's fields, which decoders match
	// without regard to case, so that "env" is "Env".
	fold bool
}

type member struct {
	name  string
	value json.RawMessage
}

// parseObject reads an object. Two members of one name are refused: which of
// them counts depends on the reader (CVE-2021-41190 is of that kind).
func parseObject(data []byte, fold bool) (*object, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if tok != json.Delim('{') {
		return nil, errors.New("parse JSON: not an object")
	}
	o := &object{fold: fold}
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
func (o *object) index(name string) int {
	return slices.IndexFunc(o.members, func(m member) bool {
		return m.name == name || o.fold && strings.EqualFold(m.name, name)
	})
}

// get decodes a member into v, and leaves v alone where there is none or null.
func (o *object) get(name string, v any) error {
	i := o.index(name)
	if i < 0 {
		return nil
	}
	if err := json.Unmarshal(o.members[i].value, v); err != nil {
		return fmt.Errorf("parse JSON member %q: %w", name, err)
	}
	return nil
}

// sub returns a member that is an object itself; an empty one where there is
// none or null.
func (o *object) sub(name string, fold bool) (*object, error) {
	i := o.index(name)
	if i < 0 || string(o.members[i].value) == "null" {
		return &object{fold: fold}, nil
	}
	s, err := parseObject(o.members[i].value, fold)
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", name, err)
	}
	return s, nil
}

// set replaces a member in its place, or adds it at the end.
func (o *object) set(name string, v any) error {
	value, err := encodeJSON(v)
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

// remove takes a member out, if it is there.
func (o *object) remove(name string) {
	if i := o.index(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
	}
}

// MarshalJSON implements [json.Marshaler].
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := encodeJSON(m.name)
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

// encodeJSON is json.Marshal without its rewriting of <, > and &, which would
// change bytes that the edit does not touch.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
