package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/veneer-build/veneer/internal/fault"
)

// InstructionError is an error in one Dockerfile instruction of an [Edit].
type InstructionError struct {
	// Text is the instruction as the caller wrote it.
	Text string
	Err  error
}

// Error says which instruction could not be applied, and why.
func (e *InstructionError) Error() string {
	return fmt.Sprintf("change %s: %s", quoteShort(e.Text), oneLine(e.Err.Error()))
}

// Unwrap returns the cause.
func (e *InstructionError) Unwrap() error { return e.Err }

// instruction is a parsed instruction. Its variables are not expanded yet.
type instruction struct {
	text   string
	cmd    instructions.Command
	escape rune
}

// ErrNotConfig means that an instruction is not an edit of an image's config. Ref
// is its name. It is a kind of [fault.Error].
var ErrNotConfig = errors.New("it is not an edit of the config")

// refused returns an error if an instruction is not an edit of the config.
func refused(name string) error {
	name = strings.ToUpper(name)
	why := ""
	switch name {
	case "RUN":
		why = "RUN is not supported, nothing runs in the image"
	case "COPY", "ADD", "FROM":
		why = name + " is not an edit of the config"
	case "ARG":
		why = "ARG has no meaning here: use ENV, or let your shell expand the variable"
	default:
		return nil
	}
	return &fault.Error{Kind: ErrNotConfig, Ref: name, Err: errors.New(why)}
}

// parseChanges parses the changes. Each string may have several lines.
func parseChanges(changes []string) ([]instruction, error) {
	var list []instruction
	for _, text := range changes {
		parsed, err := parseChange(text)
		if err != nil {
			return nil, &InstructionError{Text: text, Err: err}
		}
		list = append(list, parsed...)
	}
	return list, nil
}

func parseChange(text string) ([]instruction, error) {
	// BuildKit's parser expects the content of a heredoc. Check first if the
	// instruction is accepted at all.
	if first, _, _ := strings.Cut(strings.TrimSpace(text), " "); refused(first) != nil {
		return nil, refused(first)
	}
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("it is empty")
	}
	res, err := parser.Parse(bytes.NewReader([]byte(text)))
	if err != nil {
		return nil, err
	}
	var list []instruction
	for _, node := range res.AST.Children {
		if err := refused(node.Value); err != nil {
			return nil, err
		}
		cmd, err := instructions.ParseCommand(node)
		if err != nil {
			return nil, err
		}
		if c, ok := cmd.(*instructions.OnbuildCommand); ok {
			if err := checkTrigger(c.Expression); err != nil {
				return nil, fmt.Errorf("ONBUILD trigger: %w", err)
			}
		}
		list = append(list, instruction{text: node.Original, cmd: cmd, escape: res.EscapeToken})
	}
	return list, nil
}

// checkTrigger checks the instruction in ONBUILD. BuildKit does not do so, and the
// error only shows in a later build.
func checkTrigger(expression string) error {
	res, err := parser.Parse(strings.NewReader(expression))
	if err != nil {
		return err
	}
	for _, node := range res.AST.Children {
		if _, err := instructions.ParseCommand(node); err != nil {
			return err
		}
	}
	return nil
}

// quoteShort quotes text for an error message, and shortens it.
func quoteShort(text string) string {
	const limit = 100
	if r := []rune(text); len(r) > limit {
		text = string(r[:limit]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// oneLine joins the lines of a message.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
