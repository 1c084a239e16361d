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
	maxJSONMembers = 10_000 // of one object
)

// CheckJSON refuses a document that two readers could take for different
// things, because an object in it has a member twice, and one that is made to
// be costly: nested deeper than 100 levels, an object of more than 10,000
// members. Its error wraps [errdefs.ErrInvalidArgument].
func CheckJSON(data []byte) error {
	var open []map[string]bool // objects around the token; an array's is nil
	key := false               // the next token names a member
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // numbers of any size
	for {
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
		name, isString := tok.(string)
		switch {
		case tok == json.Delim('{'):
			open = append(open, map[string]bool{})
		case tok == json.Delim('['):
			open = append(open, nil)
		case tok == json.Delim('}'), tok == json.Delim(']'):
			open = open[:len(open)-1]
		case key && isString:
			members := open[len(open)-1]
			if members[name] {
				return fmt.Errorf("parse JSON: member %q is there twice: %w", name, errdefs.ErrInvalidArgument)
			}
			if members[name] = true; len(members) > maxJSONMembers {
				return fmt.Errorf("parse JSON: an object of more than %d members: %w", maxJSONMembers, errdefs.ErrInvalidArgument)
			}
			key = false
			continue
		}
		if len(open) > maxJSONDepth {
			return fmt.Errorf("parse JSON: nested deeper than %d levels: %w", maxJSONDepth, errdefs.ErrInvalidArgument)
		}
		// After a value, or the beginning of an object, an object goes on with a name.
		key = len(open) > 0 && open[len(open)-1] != nil
	}
}
