package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// UnsetError is an error in one entry of an [Edit]'s Unset.
type UnsetError struct {
	Text string
	Err  error
}

// Error says which field could not be removed, and why.
func (e *UnsetError) Error() string { return fmt.Sprintf("unset %s: %s", quoteShort(e.Text), e.Err) }

// Unwrap returns the cause.
func (e *UnsetError) Unwrap() error { return e.Err }

// unset removes the named field or entry, and returns a line for the history. The
// error is an [*UnsetError].
func (ed *editor) unset(text string) (string, error) {
	kind, name, named := strings.Cut(text, "=")
	kind = strings.ToLower(kind)
	if err := ed.unsetKind(kind, name, named); err != nil {
		return "", &UnsetError{Text: text, Err: err}
	}
	line := "UNSET " + kind
	if named {
		line += "=" + name
	}
	return line, nil
}

func (ed *editor) unsetKind(kind, name string, named bool) error {
	field, takesName := unsetField(kind)
	switch {
	case field == "":
		return fmt.Errorf("want env, label, expose, volume (with =NAME for one of them), cmd, entrypoint, user, workdir, healthcheck, onbuild, shell or stopsignal")
	case named && !takesName:
		return fmt.Errorf("%s takes no name", kind)
	case named && name == "":
		return fmt.Errorf("the name after = is empty")
	case !named:
		ed.fields.Remove(field)
		if kind == "cmd" {
			ed.fields.Remove("ArgsEscaped") // it describes Cmd
		}
		return nil
	}
	switch kind {
	case "env":
		return ed.unsetEnv(name)
	case "expose":
		ports, err := parsePorts(name)
		if err != nil {
			return err
		}
		return ed.removeFromSet(field, ports)
	}
	return ed.removeFromSet(field, []string{name})
}

// unsetField returns the config's field for a kind, and whether single entries of
// it can be named.
func unsetField(kind string) (field string, takesName bool) {
	switch kind {
	case "env":
		return "Env", true
	case "label":
		return "Labels", true
	case "expose":
		return "ExposedPorts", true
	case "volume":
		return "Volumes", true
	case "cmd":
		return "Cmd", false
	case "entrypoint":
		return "Entrypoint", false
	case "user":
		return "User", false
	case "workdir":
		return "WorkingDir", false
	case "healthcheck":
		return "Healthcheck", false
	case "onbuild":
		return "OnBuild", false
	case "shell":
		return "Shell", false
	case "stopsignal":
		return "StopSignal", false
	}
	return "", false
}

func (ed *editor) unsetEnv(name string) error {
	var env []string
	if err := ed.fields.Get("Env", &env); err != nil {
		return err
	}
	env = slices.DeleteFunc(env, func(e string) bool {
		key, _, _ := strings.Cut(e, "=")
		return shell.EqualEnvKeys(key, name)
	})
	return ed.setStrings("Env", env)
}

// removeFromSet removes entries from a field that is an object, and the field if it
// becomes empty.
func (ed *editor) removeFromSet(field string, names []string) error {
	set, err := ed.fields.SubMap(field)
	if err != nil {
		return err
	}
	for _, name := range names {
		set.Remove(name)
	}
	if set.Len() == 0 {
		ed.fields.Remove(field)
		return nil
	}
	return ed.fields.Set(field, set)
}
