// Package rawjson reads the JSON documents of strangers within bounds, and
// edits them in place: what an edit does not name keeps its bytes and its order.
package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// The largest documents of images have a few hundred members and a depth below
// ten. What is beyond costs more to read than it can be worth.
const (
	maxDepth   = 100
	maxMembers = 10_000 // of one object, or elements of one array
	// maxValues is how many values a document has in all, members' names
	// among them. Decoded, the shortest ones take twenty times their text.
	maxValues = 1_000_000
)

// Check refuses a document that two readers could take for different
// things, because an object in it has a member twice, and one that is made to
// be costly: nested deeper than 100 levels, an object of more than 10,000
// members. Its error wraps [errdefs.ErrInvalidArgument].
func Check(data []byte) error {
	var open []level // objects and arrays around the token
	key := false     // the next token names a member
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // numbers of any size
	for values := 0; ; values++ {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("parse JSON: %w: %w", unexpected(err), errdefs.ErrInvalidArgument)
		}
		if values == maxValues {
			return fmt.Errorf("parse JSON: more than %d values: %w", maxValues, errdefs.ErrInvalidArgument)
		}
		name, isString := tok.(string)
		switch {
		case key && isString:
			if err := open[len(open)-1].add(name); err != nil {
				return err
			}
			key = false
			continue
		case tok == json.Delim('}'), tok == json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if err := count(open); err != nil {
				return err
			}
			switch tok {
			case json.Delim('{'):
				open = append(open, level{members: map[string]bool{}})
			case json.Delim('['):
				open = append(open, level{})
			}
		}
		if len(open) > maxDepth {
			return fmt.Errorf("parse JSON: nested deeper than %d levels: %w", maxDepth, errdefs.ErrInvalidArgument)
		}
		// After a value, or the beginning of an object, an object goes on with a name.
		key = len(open) > 0 && open[len(open)-1].members != nil
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// level is an object or an array, and how many values it has had.
type level struct {
	members map[string]bool // nil for an array
	n       int
}

// add adds a member of an object.
func (l level) add(name string) error {
	if l.members[name] {
		return fmt.Errorf("parse JSON: member %q is there twice: %w", name, errdefs.ErrInvalidArgument)
	}
	l.members[name] = true
	return nil
}

// count counts a value that begins in the innermost of the levels.
func count(open []level) error {
	if len(open) == 0 {
		return nil
	}
	in := &open[len(open)-1]
	if in.n++; in.n <= maxMembers {
		return nil
	}
	kind := "array of more than %d elements"
	if in.members != nil {
		kind = "object of more than %d members"
	}
	return fmt.Errorf("parse JSON: an "+kind+": %w", maxMembers, errdefs.ErrInvalidArgument)
}
