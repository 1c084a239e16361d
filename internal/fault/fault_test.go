package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/veneer-build/veneer/internal/fault"
)

func TestError(t *testing.T) {
	kind := errors.New("it is so")
	for want, err := range map[string]error{
		"it is so":                &fault.Error{Kind: kind},
		"squash app: it is so":    &fault.Error{Kind: kind, Op: "squash", Ref: "app"},
		"copy a  b: EOF":          &fault.Error{Kind: kind, Op: "copy", Path: "a  b", Err: io.EOF},
		"EOF":                     fault.Mark(kind, io.EOF),
		"end: EOF":                fault.Mark(kind, fmt.Errorf("end: %w", io.EOF)),
		"outer: read app /x: EOF": fmt.Errorf("outer: %w", &fault.Error{Kind: kind, Op: "read", Ref: "app", Path: "/x", Err: io.EOF}),
	} {
		var typed *fault.Error
		if err.Error() != want || !errors.Is(err, kind) || !errors.As(err, &typed) || errors.Is(err, io.EOF) != (typed.Err != nil) {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

func TestAll(t *testing.T) {
	a, b := &fault.Error{Kind: io.EOF, Ref: "a"}, &fault.Error{Kind: io.EOF, Ref: "b"}
	outer := &fault.Error{Kind: io.EOF, Ref: "outer", Err: errors.Join(fmt.Errorf("x: %w", a), io.EOF, b)}
	got := fault.All(fmt.Errorf("more: %w", outer))
	if len(got) != 3 || got[0] != outer || got[1] != a || got[2] != b || fault.All(nil) != nil {
		t.Errorf("%v", got)
	}
}

func TestNotice(t *testing.T) {
	data, err := json.Marshal([]fault.Notice{{Text: "a", Cause: io.EOF}})
	if err != nil || string(data) != `["a"]` {
		t.Errorf("%s, %v", data, err)
	}
	var back []fault.Notice
	if err := json.Unmarshal(data, &back); err != nil || back[0].Text != "a" {
		t.Errorf("%v, %v", back, err)
	}
}
