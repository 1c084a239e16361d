package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	template "github.com/DataDog/datadog-agent/pkg/template/text"
	"github.com/docker/cli/templates"
	"github.com/spf13/cobra"
)

// rowFormat is the flag --format of commands that print one value or a list of them:
// text and json, as other commands have them, or what docker has besides: table, a
// template for each value, and a template for the columns of a table.
//
// The template package is a copy of text/template that calls no methods, see package page.
type rowFormat struct {
	text string
	// rows is nil for text and json.
	rows *template.Template
	// columns: rows is for a table.
	columns bool
	// zero is a value of the kind that rows are made of.
	zero any
}

// asTable is the word before the template of a table's columns.
const asTable = "table"

// newRowFormat returns the flag. zero is a value of the kind that is printed. Its
// fields are what templates may name.
func newRowFormat(text string, zero any) rowFormat { return rowFormat{text: text, zero: zero} }

// Set implements [pflag.Value].
func (f *rowFormat) Set(text string) error {
	*f = rowFormat{text: text, zero: f.zero}
	switch text {
	case "text", "json":
		return nil
	case asTable:
		f.text = "text"
		return nil
	}
	if !strings.Contains(text, "{{") {
		return errors.New("use text, json, table, or a template such as '{{.ID}}'")
	}
	if rest, ok := strings.CutPrefix(text, asTable+" "); ok {
		f.columns, text = true, strings.TrimSpace(rest)
	}
	// As in docker, a shell need not know how to write them.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return clearTemplate(err)
	}
	if err := t.Execute(io.Discard, f.zero); err != nil && strings.Contains(err.Error(), "can't evaluate field") {
		return clearTemplate(err)
	}
	f.rows = t
	return nil
}

func (f *rowFormat) String() string { return f.text }

// Type implements [pflag.Value]; it is the placeholder in the help.
func (f *rowFormat) Type() string { return "format" }

// clearTemplate removes from an error of text/template what only Go programs know.
func clearTemplate(err error) error {
	text := strings.TrimPrefix(err.Error(), "template: ")
	text = strings.TrimPrefix(text, ":")
	if _, field, ok := strings.Cut(text, "can't evaluate field "); ok {
		name, _, _ := strings.Cut(field, " ")
		return fmt.Errorf("there is no field .%s; '{{json .}}' prints all that there are", name)
	}
	return errors.New(text)
}

// json reports whether the whole result is wanted as a document.
func (f *rowFormat) json() bool { return f.text == "json" }

func bindRowFormat(cmd *cobra.Command, format *rowFormat) {
	cmd.Flags().Var(format, "format", "of the output: text, json, or as in docker a Go template, 'table TEMPLATE' with a line of headings")
	completeWords(cmd, map[string][]string{"format": {"text", "json", asTable}})
}

// print writes a line for each row by the template. It must be there. heading is the
// line above a table, by the names of the fields.
func (f *rowFormat) print(w io.Writer, heading map[string]string, rows ...any) error {
	var text bytes.Buffer
	if f.columns {
		head, err := f.rows.Clone()
		if err == nil {
			err = head.Funcs(templates.HeaderFunctions).Execute(&text, heading)
		}
		if err != nil {
			return fmt.Errorf("--format: heading: %w", clearTemplate(err))
		}
		text.WriteByte('\n')
	}
	for _, row := range rows {
		if err := f.rows.Execute(&text, row); err != nil {
			return fmt.Errorf("--format: %w", clearTemplate(err))
		}
		text.WriteByte('\n')
	}
	safe := escapeBytes(text.Bytes(), "\n\t")
	if !f.columns {
		return printRaw(w, safe)
	}
	t := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	_, err := t.Write(safe)
	if err == nil {
		err = t.Flush()
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// oneLine replaces what would break the line of a row.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(s) }

// noneText is what docker prints for what there is not.
const noneText = "<none>"

// shortID shortens a digest as docker prints IDs.
func shortID(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	return hex[:min(len(hex), 12)]
}
