package dockerfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxExpanded bounds the text of a Dockerfile whose variables are put in, the
// environment of each RUN included. A line that puts a variable into itself twice
// doubles it, so that forty short lines would need a terabyte. It is far above what
// people write, since what is counted is more than the text.
const maxExpanded = 64 << 20

// maxInstructions bounds those of a Dockerfile.
const maxInstructions = 10_000

// maxLookups bounds how many variables BuildKit's frontend looks through, which hears
// no signal meanwhile. It looks through all of a stage for each that is set or put
// in: 20,000 in one ENV take half a minute. This many take some seconds. 2,000
// variables are within it, and 1,000 with 2,000 lines that each set and put in one.
const maxLookups = 16 << 20

// unknownSize is counted for a variable that the Dockerfile does not set.
const unknownSize = 1 << 10

// inheritedSize is counted for each variable of another stage that a stage begins
// with. Else thousands of stages on one with thousands of variables would need
// memory and time by the product.
const inheritedSize = 64

// expansion counts what a Dockerfile's text may be at most once its variables are
// put in.
type expansion struct {
	// unknown is the size of a variable that is not set before; inherited is the size of
	// the environment that a stage begins with.
	unknown, inherited int64
	args               map[string]string
	// global are the variables before the first stage, vars those of a stage.
	global, vars map[string]int64
	total        int64
	// baseVars is the number of variables of the base; lookups is what is bounded.
	baseVars, lookups int64
}

// checkExpansion refuses a Dockerfile of which too much becomes. config is that of an
// image that it builds on, or nil.
func checkExpansion(text []byte, args map[string]string, config []byte) error {
	x := &expansion{unknown: unknownSize, args: args, global: map[string]int64{}}
	if config != nil {
		if err := x.base(config); err != nil {
			return err
		}
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil //nolint:nilerr // The frontend says what is wrong.
	}
	if n := len(parsed.AST.Children); n > maxInstructions {
		return fmt.Errorf("the Dockerfile has %d instructions, and %d are the limit", n, maxInstructions)
	}
	stages := map[string]map[string]int64{}
	for _, n := range parsed.AST.Children {
		if strings.EqualFold(n.Value, "FROM") {
			x.stage(n, stages)
		}
		if strings.EqualFold(n.Value, "ONBUILD") && n.Next != nil && len(n.Next.Children) > 0 {
			x.add(n.Next.Children[0])
		}
		if x.add(n); x.total > maxExpanded {
			return fmt.Errorf("line %d of the Dockerfile: with its variables put in, the text can have more than %d bytes, which is the limit", n.StartLine, maxExpanded)
		}
		if x.lookups > maxLookups {
			return fmt.Errorf("line %d of the Dockerfile: so many variables are set and put in that more than %d have to be looked through, which is the limit", n.StartLine, maxLookups)
		}
	}
	return nil
}

// base begins with the environment of an image, and what its ONBUILD adds to it.
func (x *expansion) base(config []byte) error {
	var c struct {
		Config struct{ Env, OnBuild []string } `json:"config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("read the base's config: %w", err)
	}
	x.vars = map[string]int64{}
	for _, v := range c.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		x.set(name, int64(len(value)))
	}
	x.baseVars = int64(len(x.vars))
	if parsed, err := parser.Parse(strings.NewReader(strings.Join(c.Config.OnBuild, "\n"))); err == nil {
		for _, n := range parsed.AST.Children {
			x.add(n)
		}
	}
	for _, size := range x.vars {
		x.unknown = max(x.unknown, size)
		x.inherited = min(x.inherited+size, maxExpanded+1)
	}
	if x.total > maxExpanded {
		return fmt.Errorf("the base's ONBUILD: with its variables put in, the text can have more than %d bytes, which is the limit", maxExpanded)
	}
	if x.lookups > maxLookups {
		return fmt.Errorf("the base's ONBUILD: more than %d variables have to be looked through, which is the limit", maxLookups)
	}
	x.vars = nil
	return nil
}

// stage begins one, with what the stage sets that it is built on.
func (x *expansion) stage(n *parser.Node, stages map[string]map[string]int64) {
	x.vars = map[string]int64{}
	if n.Next == nil {
		return
	}
	if on := strings.ToLower(n.Next.Value); strings.Contains(on, "$") {
		for _, vars := range stages { // A variable may name any of them.
			x.inherit(vars)
		}
	} else {
		x.inherit(stages[on])
	}
	if as := n.Next.Next; as != nil && as.Next != nil {
		stages[strings.ToLower(as.Next.Value)] = x.vars
	}
}

// inherit adds the variables of another stage, unless they are too many already.
func (x *expansion) inherit(vars map[string]int64) {
	x.count(inheritedSize * int64(len(vars)))
	if x.total > maxExpanded {
		return
	}
	for name, size := range vars {
		x.vars[name] = max(x.vars[name], size)
	}
}

// add counts a line, and notes the variables that it sets.
func (x *expansion) add(n *parser.Node) {
	x.count(x.size(n.Original))
	for _, h := range n.Heredocs {
		x.count(x.size(h.Content))
	}
	defer x.look(n) // with the variables that it sets
	switch strings.ToUpper(n.Value) {
	case "ENV":
		for name := n.Next; name != nil && name.Next != nil && name.Next.Next != nil; name = name.Next.Next.Next {
			x.set(name.Value, x.size(name.Next.Value))
		}
	case "ARG":
		for word := n.Next; word != nil; word = word.Next {
			name, value, found := strings.Cut(word.Value, "=")
			size := x.size(value)
			if !found {
				size = x.of(name)
			}
			x.set(name, max(size, int64(len(x.args[name]))))
		}
	case "RUN":
		x.count(x.inherited)
		for _, size := range x.vars {
			x.count(size)
		}
	}
}

// look counts what the frontend looks through for a line.
func (x *expansion) look(n *parser.Node) {
	times := 1
	if !strings.EqualFold(n.Value, "RUN") { // The shell does that.
		times += strings.Count(n.Original, "$")
		for _, h := range n.Heredocs {
			times += strings.Count(h.Content, "$")
		}
	}
	if strings.EqualFold(n.Value, "ENV") {
		for word := n.Next; word != nil; word = word.Next {
			times++ // Of a variable: its name, its value, and what is between them.
		}
	}
	// Neither is more than some millions, since the text is bounded.
	x.lookups = min(x.lookups+int64(times)*(x.baseVars+int64(len(x.vars))), maxLookups+1)
}

// count adds up to a little more than the bound, so that nothing overflows.
func (x *expansion) count(size int64) { x.total = min(x.total+size, maxExpanded+1) }

func (x *expansion) set(name string, size int64) {
	if strings.Trim(name, nameBytes) != "" {
		// A name that is put in, or quoted: it may be that of any variable.
		x.unknown = max(x.unknown, size)
		for _, all := range []map[string]int64{x.global, x.vars} {
			for name := range all {
				all[name] = max(all[name], size)
			}
		}
	}
	if x.vars == nil {
		x.global[name] = size
		return
	}
	x.vars[name] = size
}

// of is the size of a variable.
func (x *expansion) of(name string) int64 {
	if size, ok := x.vars[name]; ok {
		return size
	}
	if size, ok := x.global[name]; ok {
		return size
	}
	return max(x.unknown, int64(len(x.args[name])))
}

// size is how long a text can become. ${NAME/PATTERN/WORD} can put WORD at each byte.
func (x *expansion) size(text string) int64 {
	size, replaced := int64(len(text)), false
	longest := int64(0)
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "$")
		if !found {
			break
		}
		rest = strings.TrimPrefix(after, "{")
		name := rest[:len(rest)-len(strings.TrimLeft(rest, nameBytes))]
		if name == "" {
			continue
		}
		of := x.of(name)
		longest = max(longest, of)
		size = min(size+of, maxExpanded+1)
		replaced = replaced || len(rest) < len(after) && strings.HasPrefix(rest[len(name):], "/")
	}
	if replaced && size > 0 {
		if longest+1 > (maxExpanded+1)/size {
			return maxExpanded + 1
		}
		size *= longest + 1
	}
	return size
}

// nameBytes are those of a variable's name.
const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
