package content

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
	maxJSONDepth   = 100
	maxJSONMembers = 10_000 // of one object, or elements of one array
	// maxJSONValues is how many values a document has in all, members' names
	// among them. Decoded, the shortest ones take twenty times their text.
	maxJSONValues = 1_000_000
)

// CheckJSON refuses a document that two readers could take for different
// things, because an object in it has a member twice, and one that is made to
// be costly: nested deeper than 100 levels, an object of more than 10,000
// members. Its error wraps [errdefs.ErrInvalidArgument].
func CheckJSON(data []byte) error {
	var open []jsonLevel // objects and arrays around the token
	key := false         // the next token names a member
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // numbers of any size
	for values := 0; ; values++ {
		tok, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF) && len(open) == 0:
			return nil
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("parse JSON: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if values == maxJSONValues {
			return fmt.Errorf("parse JSON: more than %d values: %w", maxJSONValues, errdefs.ErrInvalidArgument)
		}
		name, isString := tok.(string)
		switch {
		case key && isString:
			if open[len(open)-1].members[name] {
				return fmt.Errorf("parse JSON: member %q is there twice: %w", name, errdefs.ErrInvalidArgument)
			}
			open[len(open)-1].members[name] = true
			key = false
			continue
		case tok == json.Delim('}'), tok == json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if err := countJSON(open); err != nil {
				return err
			}
			switch tok {
			case json.Delim('{'):
				open = append(open, jsonLevel{members: map[string]bool{}})
			case json.Delim('['):
				open = append(open, jsonLevel{})
			}
		}
		if len(open) > maxJSONDepth {
			return fmt.Errorf("parse JSON: nested deeper than %d levels: %w", maxJSONDepth, errdefs.ErrInvalidArgument)
		}
		// After a value, or the beginning of an object, an object goes on with a name.
		key = len(open) > 0 && open[len(open)-1].members != nil
	}
}

// jsonLevel is an object or an array, and how many values it has had.
type jsonLevel struct {
	members map[string]bool // nil for an array
	n       int
}

// countJSON counts a value that begins in the innermost of the levels.
func countJSON(open []jsonLevel) error {
	if len(open) == 0 {
		return nil
	}
	level := &open[len(open)-1]
	if level.n++; level.n <= maxJSONMembers {
		return nil
	}
	kind := "array of more than %d elements"
	if level.members != nil {
		kind = "object of more than %d members"
	}
	return fmt.Errorf("parse JSON: an "+kind+": %w", maxJSONMembers, errdefs.ErrInvalidArgument)
}
