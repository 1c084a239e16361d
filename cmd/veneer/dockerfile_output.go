package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

// oneOutput is the value of --output. A second one is an error, and takes no other's
// place.
type oneOutput string

// String implements pflag.Value.
func (o *oneOutput) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *oneOutput) Type() string { return "string" }

// Set implements pflag.Value.
func (o *oneOutput) Set(text string) error {
	if *o != "" {
		return fmt.Errorf("a build has one, which is %s already; build again for the other, since the steps are kept", *o)
	}
	*o = oneOutput(text)
	return nil
}

// outputFlag is the parsed value of --output.
type outputFlag struct {
	kind, dest string
	// names and push are of an image in the engine.
	names []string
	push  bool
}

// parseOutput parses type=KIND with what else the kind takes, or a directory.
func parseOutput(text string) (o outputFlag, err error) {
	if text == "-" {
		return outputFlag{kind: "tar", dest: "-"}, nil
	}
	if !strings.Contains(text, "=") {
		return outputFlag{kind: "local", dest: text}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return o, usagef("--output %s: %w", text, err)
	}
	values := map[string]string{}
	for _, field := range fields {
		key, value, found := strings.Cut(field, "=")
		if !found {
			return o, usagef("--output %s: want KEY=VALUE, got %q", text, field)
		}
		values[strings.ToLower(key)] = value
	}
	o.kind = values["type"]
	delete(values, "type")
	switch o.kind {
	case "local", "tar", "oci", "docker":
		err = o.elsewhere(text, values)
	case "image", "registry":
		err = o.inEngine(text, values)
	default:
		err = usagef("--output %s: the type is local, tar, oci, docker, image or registry; without --output the image is stored in the engine", text)
	}
	return o, err
}

// elsewhere reads what goes with a result outside of the engine.
func (f *outputFlag) elsewhere(text string, values map[string]string) error {
	f.dest = values["dest"]
	if err := onlyKeys(text, values, "dest"); err != nil {
		return err
	}
	if f.dest == "" && f.kind != "local" {
		f.dest = "-"
	}
	if f.dest == "" || f.dest == "-" && f.kind == "local" {
		return usagef("--output %s: a directory takes dest=PATH", text)
	}
	return nil
}

// inEngine reads what goes with an image in the engine.
func (f *outputFlag) inEngine(text string, values map[string]string) error {
	if err := onlyKeys(text, values, "name", "push"); err != nil {
		return err
	}
	if names := values["name"]; names != "" {
		f.names = strings.Split(names, ",")
	}
	f.push = f.kind == "registry"
	if value, given := values["push"]; given {
		push, err := strconv.ParseBool(value)
		if err != nil {
			return usagef("--output %s: push is true or false, not %q", text, value)
		}
		if f.kind == "registry" && !push {
			return usagef("--output %s: type=registry is an image that is pushed: leave out push, or use type=image", text)
		}
		f.push = push
	}
	return checkTags(f.names)
}

// onlyKeys returns an error for what a type of output does not take.
func onlyKeys(text string, values map[string]string, known ...string) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, key) {
			return usagef("--output %s: %q is not supported; use %s", text, key, strings.Join(append([]string{"type"}, known...), " and "))
		}
	}
	return nil
}

// outputOf returns where the result goes instead of into the engine; nil: it goes
// there, by the names and to the registries that --output says.
func (f *dockerfileFlags) outputOf(req *veneer.DockerfileRequest, o *buildOptions) (*outputFlag, error) {
	if f.output == "" {
		return nil, nil
	}
	out, err := parseOutput(f.output.String())
	if err != nil {
		return nil, err
	}
	if out.kind != "image" && out.kind != "registry" {
		if f.load {
			return nil, usagef("--load stores the image in the engine, and --output %s puts the result elsewhere: leave out one of them", f.output)
		}
		return &out, nil
	}
	req.Tags = append(req.Tags, out.names...)
	o.push.push = o.push.push || out.push
	return nil, nil
}

// buildOutput builds, and writes the result to a place outside of the engine.
func (a *app) buildOutput(ctx context.Context, out outputFlag, req veneer.DockerfileRequest, o buildOptions, w stepDisplay) error {
	if err := out.check(o); err != nil {
		return err
	}
	files, err := openResultFiles(ctx, o)
	if err != nil {
		return err
	}
	defer files.discard()
	req.Output = &veneer.DockerfileOutput{}
	to, commit := a.std.out, func() error { return nil }
	if out.kind == "local" {
		req.Output.Dir = out.dest
	} else if out.dest != "-" {
		f, err := openPending(ctx, out.dest)
		if err != nil {
			return err
		}
		defer f.discard()
		to, commit = f, func() error { return f.commit(nil) }
	} else if f, ok := a.outputFile(); ok && term.IsTerminal(int(f.Fd())) {
		return usagef("standard output is a terminal: use --output type=%s,dest=FILE, or a pipe", out.kind)
	}
	switch out.kind {
	case "tar":
		req.Output.Files = to
	case "oci", "docker":
		req.Output.Image = to
	}
	var res *veneer.Result
	err = a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		if res, err = veneer.BuildDockerfile(ctx, e, req); err != nil {
			return err
		}
		return commit()
	})
	w.close()
	w.explain(err)
	if err == nil {
		err = files.write(res)
	}
	if err != nil {
		return err
	}
	a.notifyAll("warning: ", res.Warnings)
	if o.format.value == "json" {
		return printJSON(a.std.out, res)
	}
	return nil
}

// check returns an error for options that this output does not use.
func (f outputFlag) check(o buildOptions) error {
	switch {
	case o.push.push:
		return usagef("--push sends the image of the engine, and --output makes none there: leave out one of them")
	case (f.kind == "local" || f.kind == "tar") && (o.iidFile != "" || o.metadataFile != ""):
		return usagef("--iidfile and --metadata-file are for an image, and --output type=%s makes none: leave them out", f.kind)
	case f.dest == "-" && o.format.value == "json":
		return usagef("--format json and --output type=%s,dest=- both write to standard output: choose another dest", f.kind)
	}
	return nil
}
