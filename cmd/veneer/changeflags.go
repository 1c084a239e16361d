package main

import (
	"strings"

	"github.com/spf13/pflag"
)

// change is an edit of the config, by --change or one of its short forms.
type change struct {
	// instruction is empty for --change, whose text has it.
	instruction string
	text        string
}

// changeValue is the flag --change, --env or --label. All add to one list, because
// the order between them counts.
type changeValue struct {
	instruction string
	list        *[]change
}

// Set implements [pflag.Value].
func (v *changeValue) Set(text string) error {
	*v.list = append(*v.list, change{v.instruction, text})
	return nil
}

func (v *changeValue) String() string { return "" }

// Type implements [pflag.Value].
func (v *changeValue) Type() string { return "stringArray" }

func (f *imageFlags) bindChanges(fs *pflag.FlagSet) {
	fs.VarP(&changeValue{"", &f.changes}, "change", "c", "edit the config by a Dockerfile `instruction`, as in 'CMD [\"/app\"]' (repeatable)")
	fs.Var(&changeValue{"ENV", &f.changes}, "env", "variable of the image's environment, `KEY=VALUE`, as it stands; KEY alone takes that of this environment (repeatable)")
	fs.Var(&changeValue{"LABEL", &f.changes}, "label", "label of the image, `KEY=VALUE`, as it stands; KEY alone is an empty one (repeatable)")
}

// takeLabels takes the labels from the list, for a Dockerfile's build.
func (f *imageFlags) takeLabels() []string {
	var labels []string
	var rest []change
	for _, c := range f.changes {
		if c.instruction == "LABEL" {
			labels = append(labels, c.text)
		} else {
			rest = append(rest, c)
		}
	}
	f.changes = rest
	return labels
}

// instructions are the changes as a Dockerfile has them. A key without a value has
// docker's meaning: a variable is taken from the environment, and a label is empty.
func instructions(list []change, getenv func(string) (string, bool)) ([]string, error) {
	var texts []string
	for _, c := range list {
		if c.instruction == "" {
			texts = append(texts, c.text)
			continue
		}
		key, value, found := strings.Cut(c.text, "=")
		flag := "--" + strings.ToLower(c.instruction)
		if !found && c.instruction == "ENV" {
			if value, found = getenv(key); !found && key != "" {
				return nil, usagef("%s %s: the environment has no such variable: give one by %[1]s %[2]s=VALUE, or remove the image's by --unset env=%[2]s", flag, key)
			}
		}
		switch {
		case key == "":
			return nil, usagef("%s %s: want KEY=VALUE", flag, c.text)
		case strings.ContainsAny(key+value, "\n\r"):
			return nil, usagef("%s %s: a line break cannot be in an instruction", flag, key)
		}
		texts = append(texts, c.instruction+" "+literal(key)+"="+literal(value))
	}
	return texts, nil
}

// literal writes a word so that an instruction has it as it stands, with its quotes
// and dollars.
func literal(word string) string {
	plain := word != "" && strings.IndexFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/:@,+", r)
	}) < 0
	if plain {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(word) + `"`
}
