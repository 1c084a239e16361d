//go:build !nodocs

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) genDocsCommand() *cobra.Command {
	var header manHeader
	cmd := &cobra.Command{
		Use:   "gen-docs DIRECTORY",
		Short: "Write the command reference and man pages",
		Long: `Write the command reference to DIRECTORY/cli and man pages to DIRECTORY/man.
The same program writes the same bytes: version and date of the man pages are those
that it is given. Without them the pages say "unreleased", and "date" in parentheses.`,
		Example: "  veneer gen-docs docs\n  veneer gen-docs --release 1.0.0 --date 2026-12-01 dist",
		Hidden:  true,
		Args:    exactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return genDocs(cmd.Root(), args[0], header) },
	}
	cmd.Flags().StringVar(&header.release, "release", "", "`version` that the man pages tell")
	cmd.Flags().StringVar(&header.date, "date", "", "`date` that the man pages tell")
	return cmd
}

func genDocs(root *cobra.Command, dir string, header manHeader) error {
	root.InitDefaultCompletionCmd()
	for _, sub := range []string{"cli", "man"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("write docs: %w", err)
		}
	}
	// The words are those of Linux' own man pages, which get version and date when they are installed, too.
	header.release = cmp.Or(header.release, "(unreleased)")
	header.date = cmp.Or(header.date, "(date)")
	if err := genMan(root, filepath.Join(dir, "man"), header); err != nil {
		return err
	}
	fenceTables(root)
	if err := doc.GenMarkdownTree(root, filepath.Join(dir, "cli")); err != nil {
		return fmt.Errorf("write command reference: %w", err)
	}
	return nil
}

// fenceTables marks the tables of all help texts as blocks of text, since Markdown would make one paragraph of their lines.
func fenceTables(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		fenceTables(sub)
	}
	paragraphs := strings.Split(cmd.Long, "\n\n")
	for i, paragraph := range paragraphs {
		if words, rows := splitTable(paragraph); rows != nil {
			table := strings.TrimPrefix(strings.TrimPrefix(paragraph, words), "\n")
			paragraphs[i] = strings.TrimPrefix(words+"\n\n```text\n"+strings.TrimRight(table, "\n")+"\n```", "\n\n")
		}
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
}

// genMan writes a man page for each command.
func genMan(cmd *cobra.Command, dir string, header manHeader) error {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			if err := genMan(sub, dir, header); err != nil {
				return err
			}
		}
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	return writeFile(cmd.Root().Context(), filepath.Join(dir, name+".1"), manPage(cmd, header))
}
