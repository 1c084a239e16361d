package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// elsewhere are commands of docker that are about containers, with ctr's words for
// them; empty: ctr has none. nerdctl has docker's.
var elsewhere = map[string]string{
	"run":     "ctr run --rm -t IMAGE ID",
	"create":  "ctr containers create IMAGE ID",
	"ps":      "ctr tasks ls",
	"exec":    "ctr tasks exec --exec-id 1 -t ID COMMAND",
	"start":   "ctr tasks start ID",
	"restart": "",
	"stop":    "ctr tasks kill --signal SIGTERM ID",
	"kill":    "ctr tasks kill ID",
	"rm":      "ctr containers rm ID",
	"pause":   "ctr tasks pause ID",
	"unpause": "ctr tasks resume ID",
	"attach":  "ctr tasks attach ID",
	"stats":   "ctr tasks metrics ID",
	"top":     "ctr tasks ps ID",
	"wait":    "",
	"logs":    "",
	"cp":      "",
	"port":    "",
	"network": "",
	"volume":  "",
	"compose": "",
}

// elsewhereCommands are hidden commands that say whose work theirs is.
func (a *app) elsewhereCommands() []*cobra.Command {
	var list []*cobra.Command
	for verb := range elsewhere {
		list = append(list, &cobra.Command{
			Use: verb, Hidden: true, DisableFlagParsing: true,
			Short: "Say what does this, since veneer does not",
			RunE: func(_ *cobra.Command, args []string) error {
				namespace, args := a.afterVerb(args)
				return usagef("%s", elsewhereText(verb, namespace, args))
			},
		})
	}
	return list
}

// afterVerb returns what follows the verb, and the namespace. The flags before it are
// veneer's own, and the others do not know them; those after it are the verb's.
func (a *app) afterVerb(args []string) (namespace string, after []string) {
	own := newApp(a.std, a.getenv)
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.flags.bind(fs)
	fs.SetInterspersed(false)
	if err := fs.Parse(a.args); err == nil && fs.NArg() > 0 {
		args = fs.Args()[1:]
	}
	return own.engineOptions(nil).Namespace, args
}

// elsewhereText says what does the work of a verb, and the command line for it.
func elsewhereText(verb, namespace string, args []string) string {
	in := ""
	if namespace != "" && namespace != "default" {
		in = "-n " + shellWord(namespace) + " "
	}
	line := "nerdctl " + in + verb
	for _, arg := range args {
		line += " " + shellWord(arg)
	}
	text := fmt.Sprintf("%s: veneer makes images; containers are for nerdctl or ctr: %s", verb, line)
	if theirs := elsewhere[verb]; theirs != "" {
		text += ", or ctr " + in + strings.TrimPrefix(theirs, "ctr ")
	}
	if verb == "rm" {
		text += "; images are removed with veneer rmi"
	}
	return text
}

// shellWord quotes a word for a shell where it has to be.
func shellWord(s string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./:=,@+%", r)
	}
	if s != "" && strings.IndexFunc(s, odd) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// otherWords are words for a command that other programs have.
var otherWords = map[string][]string{
	"build":   {"make", "bud", "buildx"},
	"commit":  {"snapshot"},
	"diff":    {"compare", "changes"},
	"history": {"layers"},
	"images":  {"image", "list", "ls-images"},
	"import":  {"from-tar"},
	"inspect": {"show", "manifest", "config"},
	"prune":   {"gc", "clean", "cleanup", "builder"},
	"pull":    {"fetch", "download", "get"},
	"push":    {"upload", "send", "publish"},
	"rmi":     {"remove", "delete", "del", "untag"},
	"save":    {"write"},
	"squash":  {"flatten", "merge"},
	"tag":     {"rename", "name"},
	"verify":  {"check", "fsck", "validate"},
}

// groups are docker's words before a command, and what follows there under another
// name than here.
var groups = map[string]map[string]string{
	"image":     {"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi"},
	"container": {},
	"builder":   {},
	"buildx":    {},
	"system":    {},
}

// unknownCommand is the error for a verb that there is not. It names those that may
// be meant.
func unknownCommand(root *cobra.Command, args []string) error {
	verb := args[0]
	if names, isGroup := groups[verb]; isGroup && len(args) > 1 {
		name := args[1]
		if here := names[name]; here != "" {
			name = here
		}
		if cmd := commandOf(root, name); cmd != nil {
			return usagef("there is no command %q: write veneer %s", verb+" "+args[1], strings.Join(slices.Concat([]string{name}, quoteAll(args[2:])), " "))
		}
	}
	if meant := suggestions(root, verb); len(meant) > 0 {
		return usagef("there is no command %q: did you mean veneer %s?", verb, orList(meant))
	}
	return usagef("there is no command %q; see veneer --help", verb)
}

func quoteAll(args []string) []string {
	var words []string
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	return words
}

func commandOf(root *cobra.Command, name string) *cobra.Command {
	for _, cmd := range root.Commands() {
		if cmd.Name() == name || cmd.HasAlias(name) {
			return cmd
		}
	}
	return nil
}

// suggestions are the commands that a word may mean: that other programs call so,
// that it is the beginning of, or that differ from it by a slip or two.
func suggestions(root *cobra.Command, word string) []string {
	var exact []string
	for name, words := range otherWords {
		if slices.Contains(words, strings.ToLower(word)) {
			exact = append(exact, name)
		}
	}
	if len(exact) > 0 {
		slices.Sort(exact)
		return exact
	}
	root.SuggestionsMinimumDistance = 2
	list := root.SuggestionsFor(word)
	for _, cmd := range root.Commands() {
		for _, alias := range cmd.Aliases {
			if alias == word {
				list = append(list, cmd.Name())
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
