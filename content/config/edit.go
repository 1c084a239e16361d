package config

import (
	"fmt"
	"strings"
)

// Edit changes an image config. The zero value changes nothing.
//
// Unset is applied first, then Changes in order, so that a field can be
// cleared and filled anew by one edit.
type Edit struct {
	// Changes are Dockerfile instructions, as docker commit --change takes them.
	Changes []string
	// Unset removes fields: "env=NAME", "label=NAME", "expose=PORT/PROTO",
	// "volume=PATH", "cmd", "entrypoint", "user", "workdir", "healthcheck",
	// "onbuild", "shell", "stopsignal". Without "=NAME" it removes all entries of
	// the kind. Removing what the base does not have is no error.
	Unset []string
	// Author is the author of the image and of the new history entry.
	Author string
	// Message is the new history entry's comment.
	Message string
}

// IsZero reports whether the edit changes nothing.
func (e Edit) IsZero() bool {
	return len(e.Changes) == 0 && len(e.Unset) == 0 && e.Author == "" && e.Message == ""
}

// Validate returns an error if the edit is wrong for every config: for wrong
// syntax, for instructions that are not config edits, and for invalid values.
// Values with variables are checked as far as possible. The error is an
// [*InstructionError] or an [*UnsetError].
func (e Edit) Validate() error {
	ed, err := newEditor([]byte("{}"))
	if err != nil {
		return err
	}
	for _, u := range e.Unset {
		if _, err := ed.unset(u); err != nil {
			return err
		}
	}
	list, err := parseChanges(e.Changes)
	if err != nil {
		return err
	}
	for _, in := range list {
		if strings.Contains(in.text, "$") {
			continue
		}
		if _, err := ed.apply(in); err != nil {
			return err
		}
	}
	return nil
}

// Apply returns the edited config, and for the history one created_by line for each
// change, in order. It does not add them to the history. Fields that the edit does
// not touch keep their bytes and their order, also unknown ones. The result has the
// same meaning as BuildKit's for the same instructions, except that WORKDIR creates
// no directory.
func (e Edit) Apply(configJSON []byte) ([]byte, []string, error) {
	list, err := parseChanges(e.Changes)
	if err != nil {
		return nil, nil, err
	}
	ed, err := newEditor(configJSON)
	if err != nil {
		return nil, nil, fmt.Errorf("edit image config: %w", err)
	}
	var createdBy []string
	for _, u := range e.Unset {
		line, err := ed.unset(u)
		if err != nil {
			return nil, nil, err
		}
		createdBy = append(createdBy, line)
	}
	for _, in := range list {
		line, err := ed.apply(in)
		if err != nil {
			return nil, nil, err
		}
		createdBy = append(createdBy, line)
	}
	if e.Author != "" {
		if err := ed.image.Set("author", e.Author); err != nil {
			return nil, nil, fmt.Errorf("edit image config: %w", err)
		}
	}
	out, err := ed.marshal()
	if err != nil {
		return nil, nil, fmt.Errorf("edit image config: %w", err)
	}
	return out, createdBy, nil
}
