package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) genDocsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gen-docs DIRECTORY",
		Short: "Write the command reference and man pages",
		Long: `Write the command reference to DIRECTORY/cli and man pages to DIRECTORY/man.
The same program writes the same bytes.`,
		Example: "  veneer gen-docs docs",
		Hidden:  true,
		Args:    exactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return genDocs(cmd.Root(), args[0]) },
	}
}

func genDocs(root *cobra.Command, dir string) error {
	// The version in a generated text would differ with every commit.
	root.Version = ""
	root.InitDefaultCompletionCmd()
	for _, sub := range []string{"cli", "man"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("write docs: %w", err)
		}
	}
	if err := doc.GenMarkdownTree(root, filepath.Join(dir, "cli")); err != nil {
		return fmt.Errorf("write command reference: %w", err)
	}
	return genMan(root, filepath.Join(dir, "man"))
}

// genMan writes a man page for each command, without the date that cobra puts
// into them.
func genMan(cmd *cobra.Command, dir string) error {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			if err := genMan(sub, dir); err != nil {
				return err
			}
		}
	}
	var page bytes.Buffer
	epoch := time.Unix(0, 0).UTC()
	header := &doc.GenManHeader{Section: "1", Source: "Veneer", Manual: "Veneer Manual", Date: &epoch}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return fmt.Errorf("write man page of %s: %w", cmd.CommandPath(), err)
	}
	data := bytes.Replace(page.Bytes(), []byte(`"Jan 1970"`), []byte(`""`), 1)
	name := string(bytes.ReplaceAll([]byte(cmd.CommandPath()), []byte(" "), []byte("-")))
	return writeFile(cmd.Root().Context(), filepath.Join(dir, name+".1"), data)
}
