package content

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/system"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/signal"
)

// configEditor holds an image config while it is edited: BuildKit's
// dockerfile2llb on raw JSON, for the instructions that touch no file.
type configEditor struct {
	image  *object // the whole config
	fields *object // its "config" member
	os     string
	// cmdSet: CMD was among the changes, so that ENTRYPOINT leaves it.
	cmdSet bool
}

func newConfigEditor(configJSON []byte) (*configEditor, error) {
	image, err := parseObject(configJSON, true)
	if err != nil {
		return nil, err
	}
	fields, err := image.sub("config", true)
	if err != nil {
		return nil, err
	}
	ed := &configEditor{image: image, fields: fields}
	if err := image.get("os", &ed.os); err != nil {
		return nil, err
	}
	return ed, nil
}

// marshal puts "config" back into the image, unless there is none to put.
func (ed *configEditor) marshal() ([]byte, error) {
	if len(ed.fields.members) > 0 || ed.image.index("config") >= 0 {
		if err := ed.image.set("config", ed.fields); err != nil {
			return nil, err
		}
	}
	return encodeJSON(ed.image)
}

// apply makes the change and returns its line for the history. The error is an
// [*InstructionError].
func (ed *configEditor) apply(in instruction) (string, error) {
	line, err := ed.dispatch(in)
	if err != nil {
		return "", &InstructionError{Text: in.text, Err: err}
	}
	return line, nil
}

func (ed *configEditor) dispatch(in instruction) (string, error) {
	var env []string
	if err := ed.fields.get("Env", &env); err != nil {
		return "", err
	}
	lex, vars := shell.NewLex(in.escape), shell.EnvsFromSlice(env)
	if p, ok := in.cmd.(instructions.PlatformSpecific); ok {
		if err := p.CheckPlatform(ed.os); err != nil {
			return "", err
		}
	}
	if ex, ok := in.cmd.(instructions.SupportsSingleWordExpansion); ok {
		err := ex.Expand(func(word string) (string, error) {
			word, _, err := lex.ProcessWord(word, vars)
			return word, err
		})
		if err != nil {
			return "", err
		}
	}
	switch c := in.cmd.(type) {
	case *instructions.CmdCommand:
		return ed.cmd(c)
	case *instructions.EntrypointCommand:
		return ed.entrypoint(c)
	case *instructions.EnvCommand:
		return ed.env(c, env)
	case *instructions.LabelCommand:
		return ed.label(c)
	case *instructions.UserCommand:
		return "USER " + c.User, ed.setString("User", c.User)
	case *instructions.WorkdirCommand:
		return ed.workdir(c)
	case *instructions.ExposeCommand:
		ports, err := expandPorts(c.Ports, func(word string) ([]string, error) { return lex.ProcessWords(word, vars) })
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("EXPOSE %v", ports), ed.addToSet("ExposedPorts", ports)
	case *instructions.VolumeCommand:
		return ed.volume(c)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(c.Signal); err != nil {
			return "", err
		}
		return "STOPSIGNAL " + c.Signal, ed.setString("StopSignal", c.Signal)
	case *instructions.HealthCheckCommand:
		return ed.healthcheck(c)
	case *instructions.OnbuildCommand:
		return ed.onbuild(c)
	case *instructions.ShellCommand:
		return fmt.Sprintf("SHELL %v", c.Shell), ed.setStrings("Shell", c.Shell)
	case *instructions.MaintainerCommand:
		return "MAINTAINER " + c.Maintainer, ed.image.set("author", c.Maintainer)
	}
	return "", fmt.Errorf("%s is not supported", strings.ToUpper(in.cmd.Name()))
}

func (ed *configEditor) cmd(c *instructions.CmdCommand) (string, error) {
	args, err := ed.commandLine(c.ShellDependantCmdLine)
	if err != nil {
		return "", err
	}
	ed.cmdSet = true
	if err := ed.setStrings("Cmd", args); err != nil {
		return "", err
	}
	// BuildKit sets it on every platform; Docker looks at it on Windows only.
	return fmt.Sprintf("CMD %q", args), ed.fields.set("ArgsEscaped", true)
}

func (ed *configEditor) entrypoint(c *instructions.EntrypointCommand) (string, error) {
	args, err := ed.commandLine(c.ShellDependantCmdLine)
	if err != nil {
		return "", err
	}
	// The base's CMD was meant for the base's ENTRYPOINT.
	if !ed.cmdSet {
		ed.fields.remove("Cmd")
	}
	return fmt.Sprintf("ENTRYPOINT %q", args), ed.setStrings("Entrypoint", args)
}

// commandLine returns the arguments of the exec form, or those of the shell
// that the shell form asks for.
func (ed *configEditor) commandLine(c instructions.ShellDependantCmdLine) ([]string, error) {
	if !c.PrependShell {
		return c.CmdLine, nil
	}
	var sh []string
	if err := ed.fields.get("Shell", &sh); err != nil {
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

func (ed *configEditor) env(c *instructions.EnvCommand, env []string) (string, error) {
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

func (ed *configEditor) label(c *instructions.LabelCommand) (string, error) {
	labels, err := ed.fields.sub("Labels", false)
	if err != nil {
		return "", err
	}
	line := "LABEL"
	for _, kv := range c.Labels {
		line += " " + kv.String()
		if err := labels.set(kv.Key, kv.Value); err != nil {
			return "", err
		}
	}
	return line, ed.fields.set("Labels", labels)
}

func (ed *configEditor) workdir(c *instructions.WorkdirCommand) (string, error) {
	var current string
	if err := ed.fields.get("WorkingDir", &current); err != nil {
		return "", err
	}
	wd, err := system.NormalizeWorkdir(current, c.Path, ed.os)
	if err != nil {
		return "", err
	}
	return "WORKDIR " + system.ToSlash(wd, ed.os), ed.fields.set("WorkingDir", wd)
}

func (ed *configEditor) volume(c *instructions.VolumeCommand) (string, error) {
	for _, v := range c.Volumes {
		if v == "" {
			return "", errors.New("VOLUME specified can not be an empty string")
		}
	}
	return fmt.Sprintf("VOLUME %v", c.Volumes), ed.addToSet("Volumes", c.Volumes)
}

func (ed *configEditor) healthcheck(c *instructions.HealthCheckCommand) (string, error) {
	health := &dockerspec.HealthcheckConfig{
		Test:          c.Health.Test,
		Interval:      c.Health.Interval,
		Timeout:       c.Health.Timeout,
		StartPeriod:   c.Health.StartPeriod,
		StartInterval: c.Health.StartInterval,
		Retries:       c.Health.Retries,
	}
	return c.String(), ed.fields.set("Healthcheck", health)
}

func (ed *configEditor) onbuild(c *instructions.OnbuildCommand) (string, error) {
	var triggers []string
	if err := ed.fields.get("OnBuild", &triggers); err != nil {
		return "", err
	}
	return "ONBUILD " + c.Expression, ed.setStrings("OnBuild", append(triggers, c.Expression))
}

// setString sets a field, or removes it where the value is empty: the fields
// are omitempty in every implementation.
func (ed *configEditor) setString(name, value string) error {
	if value == "" {
		ed.fields.remove(name)
		return nil
	}
	return ed.fields.set(name, value)
}

// setStrings is setString for lists.
func (ed *configEditor) setStrings(name string, values []string) error {
	if len(values) == 0 {
		ed.fields.remove(name)
		return nil
	}
	return ed.fields.set(name, values)
}

// addToSet adds names to a field that is a set, an object of empty objects.
func (ed *configEditor) addToSet(field string, names []string) error {
	set, err := ed.fields.sub(field, false)
	if err != nil {
		return err
	}
	for _, name := range names {
		if set.index(name) >= 0 {
			continue
		}
		if err := set.set(name, struct{}{}); err != nil {
			return err
		}
	}
	return ed.fields.set(field, set)
}
