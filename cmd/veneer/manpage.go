package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A manHeader is what stands at the top and bottom of each man page besides its name.
type manHeader struct{ release, date string }

// manPage returns a command's man page. cobra's own maker knows no tables: it makes one paragraph of what a help text has
// in columns, and lets long lines of options begin again at the left edge. Here both are lists of terms (.TP).
func manPage(cmd *cobra.Command, h manHeader) []byte {
	cmd.InitDefaultHelpFlag()
	var p manWriter
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	p.macro("TH", strings.ToUpper(name), "1", h.date, "Veneer "+h.release, "Veneer Manual")
	p.line(".nh") // no hyphens that are not the text's
	p.line(".ad l")
	p.section("NAME")
	p.text(name + " - " + cmd.Short)
	p.section("SYNOPSIS")
	if cmd.Runnable() {
		p.synopsis(cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		p.synopsis(cmd.CommandPath() + " COMMAND [flags]")
	}
	p.section("DESCRIPTION")
	p.prose(cmd.Long)
	p.commands(cmd)
	p.options("OPTIONS", cmd.NonInheritedFlags())
	p.options("OPTIONS OF ALL COMMANDS", cmd.InheritedFlags())
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.code(cmd.Example)
	}
	p.seeAlso(cmd)
	return []byte(p.b.String())
}

// A manWriter writes in the macros of man(7).
type manWriter struct{ b strings.Builder }

func (p *manWriter) line(s string) { p.b.WriteString(s + "\n") }

// roff writes what a line of text stands for: a backslash and a hyphen as themselves, and no macro at its beginning.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "…", "...").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func (p *manWriter) macro(name string, args ...string) {
	quoted := []string{"." + name}
	for _, arg := range args {
		quoted = append(quoted, `"`+strings.ReplaceAll(roff(arg), `"`, `\(dq`)+`"`)
	}
	p.line(strings.Join(quoted, " "))
}

func (p *manWriter) section(name string) { p.line(".SH " + name) }

func (p *manWriter) text(s string) { p.line(roff(s)) }

// synopsis writes a line of use, its command in bold.
func (p *manWriter) synopsis(use string) {
	words := strings.Fields(use)
	n := slices.IndexFunc(words, func(w string) bool { return strings.ToLower(w) != w || strings.ContainsAny(w, "[|") })
	if n < 0 {
		n = len(words)
	}
	p.line(".PP")
	p.line(strings.TrimSpace(`\fB` + roff(strings.Join(words[:n], " ")) + `\fP ` + roff(strings.Join(words[n:], " "))))
}

// prose writes a help text: paragraphs, tables (lines that two blanks begin) and code (lines that a tab begins).
func (p *manWriter) prose(text string) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(paragraph, "\t") {
			p.code(strings.ReplaceAll(paragraph, "\t", "  "))
			continue
		}
		words, table := splitTable(strings.Trim(paragraph, "\n"))
		if words != "" {
			p.line(".PP")
			for line := range strings.SplitSeq(words, "\n") {
				p.text(strings.TrimSpace(line))
			}
		}
		for _, row := range table {
			p.term(`\fB`+roff(row.term)+`\fP`, row.text)
		}
	}
}

// A tableRow is one of a table in a help text.
type tableRow struct{ term, text string }

// tableLine matches a line of a table: a term, what is told of it, or both with two blanks between them.
var tableLine = regexp.MustCompile(`^  (?:(\S.*?)(?:  +(\S.*))?| +(\S.*))$`)

// splitTable returns a paragraph's lines before its table, and the table's rows.
func splitTable(paragraph string) (words string, rows []tableRow) {
	lines := strings.Split(paragraph, "\n")
	first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  ") })
	if first < 0 {
		return paragraph, nil
	}
	for _, line := range lines[first:] {
		m := tableLine.FindStringSubmatch(line)
		switch {
		case m == nil, m[1] == "" && len(rows) == 0:
			return paragraph, nil
		case m[1] != "":
			rows = append(rows, tableRow{m[1], m[2]})
		default:
			last := &rows[len(rows)-1]
			last.text = strings.TrimSpace(last.text + " " + m[3])
		}
	}
	return strings.Join(lines[:first], "\n"), rows
}

// term writes one of a list of terms; its name is roff already.
func (p *manWriter) term(name, text string) {
	p.line(".TP")
	p.line(name)
	p.text(text)
}

func (p *manWriter) code(text string) {
	p.line(".PP")
	p.line(".EX")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		p.text(line)
	}
	p.line(".EE")
}

func (p *manWriter) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.section("COMMANDS")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			p.term(`\fB`+roff(sub.CommandPath())+`\fP`, sub.Short)
		}
	}
}

func (p *manWriter) options(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		word, usage := pflag.UnquoteUsage(f)
		name := `\fB` + roff("--"+f.Name) + `\fP`
		if f.Shorthand != "" {
			name = `\fB` + roff("-"+f.Shorthand) + `\fP, ` + name
		}
		switch {
		case word != "" && f.NoOptDefVal != "" && f.Value.Type() != "bool":
			name += `[=\fI` + roff(word) + `\fP]`
		case word != "":
			name += ` \fI` + roff(word) + `\fP`
		}
		if !slices.Contains([]string{"", "false", "[]", "0", "<nil>"}, f.DefValue) {
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		p.term(name, usage)
	})
}

func (p *manWriter) seeAlso(cmd *cobra.Command) {
	var pages []string
	add := func(c *cobra.Command) {
		pages = append(pages, `\fB`+roff(strings.ReplaceAll(c.CommandPath(), " ", "-"))+`\fP(1)`)
	}
	if cmd.HasParent() {
		add(cmd.Parent())
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			add(sub)
		}
	}
	if len(pages) > 0 {
		p.section("SEE ALSO")
		p.line(strings.Join(pages, ",\n"))
	}
}
