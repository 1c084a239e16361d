package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/system"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/signal"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// editor is an image config that is being edited, as raw JSON. It does what
// BuildKit's dockerfile2llb does for instructions that touch no file.
type editor struct {
	image  *rawjson.Object // the whole config
	fields *rawjson.Object // its "config" member
	os     string
	// cmdSet: CMD was one of the changes, so ENTRYPOINT does not remove it.
	cmdSet bool
}

func newEditor(configJSON []byte) (*editor, error) {
	image, err := rawjson.Parse(configJSON)
	if err != nil {
		return nil, err
	}
	fields, err := image.Sub("config")
	if err != nil {
		return nil, err
	}
	ed := &editor{image: image, fields: fields}
	if err := image.Get("os", &ed.os); err != nil {
		return nil, err
	}
	return ed, nil
}

// marshal returns the image config with the edited "config" member, unless that
// does not exist.
func (ed *editor) marshal() ([]byte, error) {
	if ed.fields.Len() > 0 || ed.image.Contains("config") {
		if err := ed.image.Set("config", ed.fields); err != nil {
			return nil, err
		}
	}
	return rawjson.Encode(ed.image)
}

// apply applies an instruction and returns its line for the history. The error is
// an [*InstructionError].
func (ed *editor) apply(in instruction) (string, error) {
	v, err := ed.expand(in)
	var line string
	if err == nil {
		line, err = ed.dispatch(in, v)
	}
	if err != nil {
		return "", &InstructionError{Text: in.text, Err: err}
	}
	return line, nil
}

// variables are those of the image's config, and how to put them into a word.
type variables struct {
	env    []string
	expand func(word string) ([]string, error)
}

// expand checks that the instruction is for the image's platform, and puts the
// variables into its words. For EXPOSE this is left to [editor.expose].
func (ed *editor) expand(in instruction) (v variables, err error) {
	if err := ed.fields.Get("Env", &v.env); err != nil {
		return v, err
	}
	if p, ok := in.cmd.(instructions.PlatformSpecific); ok {
		if err := p.CheckPlatform(ed.os); err != nil {
			return v, err
		}
	}
	lex, vars := shell.NewLex(in.escape), shell.EnvsFromSlice(v.env)
	v.expand = func(word string) ([]string, error) { return lex.ProcessWords(word, vars) }
	if ex, ok := in.cmd.(instructions.SupportsSingleWordExpansion); ok {
		err = ex.Expand(func(word string) (string, error) {
			word, _, err := lex.ProcessWord(word, vars)
			return word, err
		})
	}
	return v, err
}

func (ed *editor) dispatch(in instruction, v variables) (string, error) {
	switch c := in.cmd.(type) {
	case *instructions.CmdCommand:
		return ed.cmd(c)
	case *instructions.EntrypointCommand:
		return ed.entrypoint(c)
	case *instructions.EnvCommand:
		return ed.env(c, v.env)
	case *instructions.LabelCommand:
		return ed.label(c)
	case *instructions.UserCommand:
		return "USER " + c.User, ed.setString("User", c.User)
	case *instructions.WorkdirCommand:
		return ed.workdir(c)
	case *instructions.ExposeCommand:
		return ed.expose(c, v)
	case *instructions.VolumeCommand:
		return ed.volume(c)
	case *instructions.StopSignalCommand:
		return ed.stopSignal(c)
	case *instructions.HealthCheckCommand:
		return ed.healthcheck(c)
	case *instructions.OnbuildCommand:
		return ed.onbuild(c)
	case *instructions.ShellCommand:
		return fmt.Sprintf("SHELL %v", c.Shell), ed.setStrings("Shell", c.Shell)
	case *instructions.MaintainerCommand:
		return "MAINTAINER " + c.Maintainer, ed.image.Set("author", c.Maintainer)
	}
	return "", fmt.Errorf("%s is not supported", strings.ToUpper(in.cmd.Name()))
}

func (ed *editor) expose(c *instructions.ExposeCommand, v variables) (string, error) {
	ports, err := expandPorts(c.Ports, v.expand)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("EXPOSE %v", ports), ed.addToSet("ExposedPorts", ports)
}

func (ed *editor) stopSignal(c *instructions.StopSignalCommand) (string, error) {
	if _, err := signal.ParseSignal(c.Signal); err != nil {
		return "", err
	}
	return "STOPSIGNAL " + c.Signal, ed.setString("StopSignal", c.Signal)
}

func (ed *editor) cmd(c *instructions.CmdCommand) (string, error) {
	args, err := ed.commandLine(c.ShellDependantCmdLine)
	if err != nil {
		return "", err
	}
	ed.cmdSet = true
	if err := ed.setStrings("Cmd", args); err != nil {
		return "", err
	}
	// BuildKit sets it on every platform. Docker uses it on Windows only.
	return fmt.Sprintf("CMD %q", args), ed.fields.Set("ArgsEscaped", true)
}

func (ed *editor) entrypoint(c *instructions.EntrypointCommand) (string, error) {
	args, err := ed.commandLine(c.ShellDependantCmdLine)
	if err != nil {
		return "", err
	}
	// The base's CMD has arguments for the base's ENTRYPOINT.
	if !ed.cmdSet {
		ed.fields.Remove("Cmd")
	}
	return fmt.Sprintf("ENTRYPOINT %q", args), ed.setStrings("Entrypoint", args)
}

// commandLine returns the arguments of the exec form. For the shell form it adds
// the shell.
func (ed *editor) commandLine(c instructions.ShellDependantCmdLine) ([]string, error) {
	if !c.PrependShell {
		return c.CmdLine, nil
	}
	var sh []string
	if err := ed.fields.Get("Shell", &sh); err != nil {
		return nil, err
	}
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
		if ed.os == "windows" {
			sh = []string{"cmd", "/S", "/C"}
		}
	}
	return append(sh, strings.Join(c.CmdLine, " ")), nil
}

func (ed *editor) env(c *instructions.EnvCommand, env []string) (string, error) {
	line := "ENV"
	for _, kv := range c.Env {
		if kv.Key == "" {
			return "", errors.New("ENV names can not be blank")
		}
		line += " " + kv.String()
		env = setEnv(env, kv.Key, kv.String())
	}
	return line, ed.setStrings("Env", env)
}

// setEnv replaces the first variable of that name, or adds it at the end.
func setEnv(env []string, name, entry string) []string {
	for i, e := range env {
		if key, _, _ := strings.Cut(e, "="); shell.EqualEnvKeys(key, name) {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}

func (ed *editor) label(c *instructions.LabelCommand) (string, error) {
	labels, err := ed.fields.SubMap("Labels")
	if err != nil {
		return "", err
	}
	line := "LABEL"
	for _, kv := range c.Labels {
		line += " " + kv.String()
		if err := labels.Set(kv.Key, kv.Value); err != nil {
			return "", err
		}
	}
	return line, ed.fields.Set("Labels", labels)
}

func (ed *editor) workdir(c *instructions.WorkdirCommand) (string, error) {
	var current string
	if err := ed.fields.Get("WorkingDir", &current); err != nil {
		return "", err
	}
	wd, err := system.NormalizeWorkdir(current, c.Path, ed.os)
	if err != nil {
		return "", err
	}
	return "WORKDIR " + system.ToSlash(wd, ed.os), ed.fields.Set("WorkingDir", wd)
}

func (ed *editor) volume(c *instructions.VolumeCommand) (string, error) {
	for _, v := range c.Volumes {
		if v == "" {
			return "", errors.New("VOLUME specified can not be an empty string")
		}
	}
	return fmt.Sprintf("VOLUME %v", c.Volumes), ed.addToSet("Volumes", c.Volumes)
}

func (ed *editor) healthcheck(c *instructions.HealthCheckCommand) (string, error) {
	health := &dockerspec.HealthcheckConfig{
		Test:          c.Health.Test,
		Interval:      c.Health.Interval,
		Timeout:       c.Health.Timeout,
		StartPeriod:   c.Health.StartPeriod,
		StartInterval: c.Health.StartInterval,
		Retries:       c.Health.Retries,
	}
	return c.String(), ed.fields.Set("Healthcheck", health)
}

func (ed *editor) onbuild(c *instructions.OnbuildCommand) (string, error) {
	var triggers []string
	if err := ed.fields.Get("OnBuild", &triggers); err != nil {
		return "", err
	}
	return "ONBUILD " + c.Expression, ed.setStrings("OnBuild", append(triggers, c.Expression))
}

// setString sets a field. An empty value removes it, since the fields are omitempty
// in every implementation.
func (ed *editor) setString(name, value string) error {
	if value == "" {
		ed.fields.Remove(name)
		return nil
	}
	return ed.fields.Set(name, value)
}

// setStrings is setString for lists.
func (ed *editor) setStrings(name string, values []string) error {
	if len(values) == 0 {
		ed.fields.Remove(name)
		return nil
	}
	return ed.fields.Set(name, values)
}

// addToSet adds names to a field that is a set: an object whose values are empty
// objects.
func (ed *editor) addToSet(field string, names []string) error {
	set, err := ed.fields.SubMap(field)
	if err != nil {
		return err
	}
	for _, name := range names {
		if set.Contains(name) {
			continue
		}
		if err := set.Set(name, struct{}{}); err != nil {
			return err
		}
	}
	return ed.fields.Set(field, set)
}
