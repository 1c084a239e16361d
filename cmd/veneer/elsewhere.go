package main

import (
	"cmp"
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
	"build":   {"make", "bud"},
	"commit":  {"snapshot"},
	"diff":    {"compare", "changes"},
	"explore": {"dive", "blame", "browse"},
	"history": {"layers", "log", "stat"},
	"images":  {"image", "list", "ls-images"},
	"import":  {"from-tar"},
	"inspect": {"show", "manifest", "config", "imagetools"},
	"prune":   {"gc", "clean", "cleanup", "builder"},
	"pull":    {"fetch", "download", "get"},
	"push":    {"upload", "send", "publish"},
	"report":  {"analyze", "analyse"},
	"rmi":     {"remove", "delete", "del", "untag"},
	"save":    {"write"},
	"squash":  {"flatten", "merge"},
	"tag":     {"rename", "name"},
	"verify":  {"check", "fsck", "validate"},
}

// groups are docker's words before a command, with the commands that follow there and
// the commands here.
var groups = map[string]map[string]string{
	"image": {
		"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi", "build": "build", "history": "history", "import": "import",
		"inspect": "inspect", "load": "load", "prune": "prune", "pull": "pull", "push": "push", "save": "save", "tag": "tag",
	},
	"container": {"commit": "commit"},
	"builder":   {"build": "build", "prune": "prune"},
	"buildx":    {"build": "build", "b": "build", "prune": "prune", "du": "system df"},
	"manifest":  {"inspect": "inspect --manifest"},
	"system":    {"prune": "prune"},
}

// unknownCommand is the error for a verb that there is not. It says what to write
// instead, as far as that is known.
func (a *app) unknownCommand(root *cobra.Command, words []string) error {
	verb := words[0]
	namespace, after := a.afterVerb(words[1:])
	if group := groups[verb]; group != nil && len(words) > 1 {
		typed, rest := verb+" "+words[1], after
		if len(rest) > 0 && rest[0] == words[1] {
			rest = rest[1:]
		}
		switch here := group[words[1]]; {
		case here != "":
			return usagef("there is no command %q: write veneer %s", typed, strings.Join(slices.Concat([]string{here}, quoteAll(rest)), " "))
		case verb == "container":
			return usagef("%s", elsewhereText(verb, namespace, after))
		case notVerbs[words[1]] != "":
			return usagef("there is no command %q: %s", typed, notVerbs[words[1]])
		case len(namedOtherwise(words[1])) > 0:
			return usagef("there is no command %q: did you mean veneer %s?", typed, orList(namedOtherwise(words[1])))
		}
		return usagef("there is no command %q; see veneer --help", typed)
	}
	if what := cmp.Or(notVerbs[verb], asArgument(verb)); what != "" {
		return usagef("there is no command %q: %s", verb, what)
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
	if exact := namedOtherwise(word); len(exact) > 0 {
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

// namedOtherwise are the commands that other programs call so.
func namedOtherwise(word string) []string {
	var names []string
	for name, words := range otherWords {
		if slices.Contains(words, strings.ToLower(word)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
