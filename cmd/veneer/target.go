package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/veneer-build/veneer"
)

// targetValue is the flag --copy, --sync or --delete. All three add to one list,
// because the order between them counts.
type targetValue struct {
	op   veneer.Op
	list *[]veneer.TargetSpec
}

// Set implements [pflag.Value].
func (v *targetValue) Set(text string) error {
	spec, err := parseTarget(v.op, text)
	if err != nil {
		return err
	}
	if spec.Type == veneer.SourceTar && spec.Source == "-" && slices.ContainsFunc(*v.list, func(t veneer.TargetSpec) bool { return t.Type == veneer.SourceTar && t.Source == "-" }) {
		return errors.New("standard input can be read only once, and another target has it already")
	}
	if err := veneer.CheckSource(spec.Source); err != nil {
		return err
	}
	*v.list = append(*v.list, spec)
	return nil
}

func (v *targetValue) String() string { return "" }

// Type implements [pflag.Value]; it is the placeholder in the help.
func (v *targetValue) Type() string {
	if v.op == veneer.OpDelete {
		return "PATH"
	}
	return "SRC:DEST"
}

// targetKeys are the keys of the long form. Each line has all spellings of one key,
// its name first.
func targetKeys() [][]string {
	return [][]string{
		{"type"},
		{"ref", "image", "id", "container"},
		{"pause"},
		{"src", "source"},
		{"dest", "dst", "destination", "target"},
		{"chown"},
		{"chmod"},
		{"owner"},
		{"exclude"},
		{"ignorefile"},
		{"dirlinks"},
	}
}

// targetKey returns the name that a key stands for.
func targetKey(key string) (string, bool) {
	for _, names := range targetKeys() {
		if slices.Contains(names, key) {
			return names[0], true
		}
	}
	return "", false
}

func parseTarget(op veneer.Op, text string) (veneer.TargetSpec, error) {
	spec := veneer.TargetSpec{Op: op}
	switch {
	case text == "":
		return spec, errors.New("it is empty")
	case op == veneer.OpDelete:
		spec.Dest = text
		return spec, nil
	case isLongForm(text):
		if err := parseLong(&spec, text); err != nil {
			return spec, err
		}
	default:
		src, dest, ok := cutShort(text)
		if !ok {
			return spec, errors.New("want SRC:DEST, or type=dir|tar|image|container,src=SRC,dest=DEST")
		}
		spec.Source, spec.Dest = src, dest
	}
	return spec, checkTarget(&spec)
}

// cutShort splits SRC:DEST at the last colon that a slash follows, so that the
// source may contain colons. Without such a colon it splits at the last one, and
// the destination is relative to the image's working directory.
func cutShort(text string) (src, dest string, ok bool) {
	i := strings.LastIndex(text, ":/")
	if i < 0 {
		i = strings.LastIndex(text, ":")
	}
	if i < 0 {
		return "", "", false
	}
	return text[:i], text[i+1:], true
}

// isLongForm tells KEY=VALUE,… from SRC:DEST. It is the long form if one of its
// parts has a known key, or if it begins like KEY=VALUE and has no colon. A source
// that looks like the long form can be written with "./" before it.
func isLongForm(text string) bool {
	first, _, found := strings.Cut(text, "=")
	if !found || !regexp.MustCompile(`^"?[a-z]+$`).MatchString(first) {
		return false
	}
	for part := range strings.SplitSeq(text, ",") {
		key, _, found := strings.Cut(strings.TrimPrefix(part, `"`), "=")
		if _, known := targetKey(key); found && known {
			return true
		}
	}
	return !strings.Contains(text, ":")
}

// parseLong reads a CSV record of KEY=VALUE, as docker's --mount has it.
func parseLong(spec *veneer.TargetSpec, text string) error {
	r := csv.NewReader(strings.NewReader(text))
	fields, err := r.Read()
	if err != nil {
		return fmt.Errorf("not a list of KEY=VALUE with commas between: %w", err)
	}
	if _, err := r.Read(); err == nil {
		return errors.New("more than one line")
	}
	seen := map[string]bool{}
	for _, field := range fields {
		key, value, found := strings.Cut(field, "=")
		name, known := targetKey(key)
		switch {
		case !known:
			return fmt.Errorf("unknown key %q; known are %s", key, knownKeys())
		case !found || value == "":
			return fmt.Errorf("%s needs a value", key)
		case seen[name] && name != "exclude":
			return fmt.Errorf("%s is given twice", name)
		}
		seen[name] = true
		if err := setTargetKey(spec, name, value); err != nil {
			return err
		}
	}
	return nil
}

func knownKeys() string {
	var names []string
	for _, k := range targetKeys() {
		names = append(names, strings.Join(k, "|"))
	}
	return strings.Join(names, ", ")
}

func setTargetKey(spec *veneer.TargetSpec, name, value string) error {
	switch name {
	case "type":
		return setWord(&spec.Type, name, value, veneer.SourceDir, veneer.SourceTar, veneer.SourceImage, veneer.SourceContainer)
	case "ref":
		spec.Ref = value
	case "pause":
		var word string
		err := setWord(&word, name, value, "true", "false")
		spec.NoPause = word == "false"
		return err
	case "src":
		spec.Source = value
	case "dest":
		spec.Dest = value
	case "chown":
		spec.Chown = value
	case "chmod":
		spec.Chmod = value
	case "owner":
		return setWord(&spec.Owner, name, value, "base", "source", "root")
	case "exclude":
		if _, err := patternmatcher.New([]string{value}); err != nil {
			return fmt.Errorf("exclude=%s: %w", value, err)
		}
		spec.Exclude = append(spec.Exclude, value)
	case "ignorefile":
		spec.IgnoreFile = value
	case "dirlinks":
		return setWord(&spec.DirLinks, name, value, "follow", "replace", "error")
	}
	return nil
}

func setWord[T ~string](to *T, name, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("%s=%s: use %s", name, value, orList(allowed))
	}
	*to = T(value)
	return nil
}

func checkTarget(spec *veneer.TargetSpec) error {
	if err := checkSource(spec); err != nil {
		return err
	}
	if spec.Dest == "" {
		return errors.New("the destination is empty")
	}
	if spec.Chmod != "" {
		if err := veneer.CheckChmod(spec.Chmod); err != nil {
			return err
		}
	}
	if spec.Chown != "" && !regexp.MustCompile(`^[^:\s]+(:[^:\s]+)?$`).MatchString(spec.Chown) {
		return fmt.Errorf("chown=%s: want USER[:GROUP]", spec.Chown)
	}
	return nil
}

// checkSource checks what says where the files come from.
func checkSource(spec *veneer.TargetSpec) error {
	ofImage, ofContainer := spec.Type == veneer.SourceImage, spec.Type == veneer.SourceContainer
	hasRef := ofImage || ofContainer
	switch {
	case ofImage && spec.Ref == "":
		return errors.New("type=image needs ref=IMAGE, the image that files are taken from")
	case ofContainer && spec.Ref == "":
		return errors.New("type=container needs id=CONTAINER, the container that files are taken from")
	case !hasRef && spec.Ref != "":
		return errors.New("ref goes with type=image and type=container only")
	case !ofContainer && spec.NoPause:
		return errors.New("pause goes with type=container only")
	case spec.Source == "":
		return errors.New("the source is empty")
	case spec.Source == "-" && spec.Type != veneer.SourceTar && !hasRef:
		return errors.New("only an archive can come from standard input: type=tar,src=-,dest=DEST (a file of that name is ./-)")
	}
	if ofImage {
		_, err := veneer.ParseRef(spec.Ref)
		return err
	}
	return nil
}
