package main

import (
	"context"
	"encoding/csv"
	"strings"

	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

// outputFlag is the parsed value of --output.
type outputFlag struct{ kind, dest string }

// parseOutput parses type=KIND,dest=PATH, or a directory.
func parseOutput(text string) (o outputFlag, err error) {
	if text == "-" {
		return outputFlag{"tar", "-"}, nil
	}
	if !strings.Contains(text, "=") {
		return outputFlag{"local", text}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return o, usagef("--output %s: %w", text, err)
	}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "type":
			o.kind = value
		case "dest":
			o.dest = value
		default:
			return o, usagef("--output %s: %q is not supported; use type and dest", text, key)
		}
	}
	switch o.kind {
	case "local", "tar", "oci", "docker":
	default:
		return o, usagef("--output %s: the type is local, tar, oci or docker; without --output the image is stored in the engine", text)
	}
	if o.dest == "" && o.kind != "local" {
		o.dest = "-"
	}
	if o.dest == "" || o.dest == "-" && o.kind == "local" {
		return o, usagef("--output %s: a directory takes dest=PATH", text)
	}
	return o, nil
}

// buildOutput builds, and writes the result to a place outside of the engine.
func (a *app) buildOutput(ctx context.Context, text string, req veneer.DockerfileRequest, o buildOptions, w *stepPrinter) error {
	out, err := parseOutput(text)
	if err != nil {
		return err
	}
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
