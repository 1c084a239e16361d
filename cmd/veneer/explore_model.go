package main

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/veneer-build/veneer"
)

// pane is a part of the screen that takes keys.
type pane int

const (
	layerPane pane = iota
	filePane
	wastePane
	panes
)

// explorer is the state of veneer explore. Only bubbletea's loop uses it.
type explorer struct {
	image veneer.Dissected
	parts *veneer.Anatomy
	// by says how each layer was made.
	by            []string
	color         bool
	width, height int

	focus  pane
	layers scroller // The first one is the whole image.
	files  fileTree
	waste  wasteList

	// asking: what is searched for is being typed.
	asking  bool
	typed   string
	found   matches
	help    bool
	helpAt  scroller
	message string
}

// byShown bounds the bytes of a step that are drawn: no terminal shows more, and each
// frame goes through them. A config may have megabytes of them.
const byShown = 4 << 10

func newExplorer(img *veneer.Dissection, color bool) *explorer {
	x := &explorer{image: img.New, parts: img.New.Parts, color: color, by: make([]string, len(img.New.Parts.Layers))}
	layer := 0
	for _, step := range veneer.History(x.image.Image) {
		if step.Layer != nil && layer < len(x.by) {
			x.by[layer] = oneLine(firstBytes(step.CreatedBy, byShown))
			layer++
		}
	}
	x.files = newFileTree(x.parts)
	x.waste = newWasteList(img.Waste)
	return x
}

// Init implements [tea.Model].
func (x *explorer) Init() tea.Cmd { return nil }

// Update implements [tea.Model].
func (x *explorer) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		x.width, x.height = msg.Width, msg.Height
	case tea.PasteMsg:
		if x.asking {
			x.typed += oneLine(msg.Content)
		}
	case tea.KeyPressMsg:
		x.message = ""
		return x, x.key(msg.String(), msg.Text)
	}
	return x, nil
}

// key does what a key is for. text is what it types, if it does.
func (x *explorer) key(key, text string) tea.Cmd {
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case key == "ctrl+z":
		return tea.Suspend
	case x.asking:
		x.ask(key, text)
		return nil
	case x.help:
		x.helpKey(key)
		return nil
	case key == "q":
		return tea.Quit
	}
	x.command(key)
	return nil
}

func (x *explorer) helpKey(key string) {
	switch key {
	case "?", "q", "esc", "enter":
		x.help = false
	default:
		x.helpAt.key(key, len(explorerHelp), x.height-2)
	}
}

// command does what the keys are for that no pane has to itself.
func (x *explorer) command(key string) {
	switch key {
	case "?":
		x.help, x.helpAt = true, scroller{}
	case "tab":
		x.focus = (x.focus + 1) % panes
	case "shift+tab":
		x.focus = (x.focus + panes - 1) % panes
	case "/":
		x.asking, x.typed = true, ""
	case "n":
		x.next(1)
	case "N":
		x.next(-1)
	case "t":
		x.files.below = !x.files.below
		x.files.show()
	case "s":
		x.files.byName = !x.files.byName
		x.files.show()
	case "esc":
		x.found = matches{}
	default:
		x.paneKey(key)
	}
}

// paneKey is for the pane that has the focus.
func (x *explorer) paneKey(key string) {
	l := x.layout()
	switch x.focus {
	case layerPane:
		switch key {
		case "enter", "right", "l":
			x.focus = filePane
		default:
			if x.layers.key(key, len(x.parts.Layers)+1, l.layerRows) {
				x.choose(x.layers.at)
			}
		}
	case filePane:
		x.files.key(key, l.fileRows)
	default:
		if key != "enter" {
			x.waste.key(key, len(x.waste.rows), l.wasteRows)
			return
		}
		if row, ok := x.waste.row(); ok {
			x.choose(row.layer + 1)
			x.files.reveal(row.file)
			x.focus = filePane
		}
	}
}

// choose shows the files of a layer, which are numbered from 1; 0 is the image.
func (x *explorer) choose(n int) {
	x.layers.at = n
	x.files.layer = n - 1
	x.files.show()
	x.found = matches{}
}

// ask takes what is typed after a slash.
func (x *explorer) ask(key, text string) {
	switch key {
	case "esc":
		x.asking = false
	case "enter":
		x.asking = false
		if x.typed != "" {
			x.found = x.files.search(x.typed)
			x.found.at = -1
			x.next(1)
		}
	case "backspace":
		if r := []rune(x.typed); len(r) > 0 {
			x.typed = string(r[:len(r)-1])
		} else {
			x.asking = false
		}
	default:
		x.typed += text
	}
}

// next goes to another match.
func (x *explorer) next(step int) {
	n := len(x.found.files)
	switch {
	case x.found.text == "":
		x.message = "/ searches"
	case n == 0:
		x.message = "no path here has " + quotePath(x.found.text)
	default:
		x.found.at = (x.found.at + step + n) % n
		x.files.reveal(x.found.files[x.found.at])
		x.focus = filePane
	}
}

// scroller is a place in a list of which a part is shown.
type scroller struct {
	at  int // the chosen row
	top int // the first row that is shown
}

// key moves in a list of n rows, of which some are shown. It reports whether the place
// has changed.
func (s *scroller) key(key string, n, shown int) bool {
	before := s.at
	switch key {
	case "up", "k":
		s.at--
	case "down", "j":
		s.at++
	case "pgup", "ctrl+b", "ctrl+u":
		s.at -= max(1, shown-1)
	case "pgdown", "ctrl+f", "ctrl+d", "space":
		s.at += max(1, shown-1)
	case "home", "g":
		s.at = 0
	case "end", "G":
		s.at = n - 1
	}
	s.at = max(0, min(s.at, n-1))
	return s.at != before
}

// fit makes the chosen row one of those that are shown, and returns these.
func (s *scroller) fit(n, shown int) (from, to int) {
	s.at = max(0, min(s.at, n-1))
	s.top = max(s.at-shown+1, min(s.top, s.at))
	s.top = max(0, min(s.top, n-shown))
	return s.top, min(n, s.top+shown)
}

// matches are the paths that a search has found.
type matches struct {
	text  string
	files []*veneer.AnatomyFile
	at    int
	// more: there are others beside these.
	more bool
}

// searchListed bounds what a search lists, in the order of paths.
const searchListed = 10_000

// search finds the files of the tree whose name has the text in it, or whose path if
// the text has a slash. Without a capital letter in it, case does not matter.
func (t *fileTree) search(text string) matches {
	found := matches{text: text}
	fold := strings.ToLower(text) == text
	whole := strings.Contains(text, "/")
	var path []byte  // of the file
	ends := []int{0} // where in it the paths of the directories end, from the root on
	t.image.Walk(func(f *veneer.AnatomyFile, depth int) bool {
		in := f.Name
		if whole {
			path = append(append(path[:ends[depth]], '/'), f.Name...)
			ends = append(ends[:depth+1], len(path))
			in = string(path)
		}
		if fold {
			in = strings.ToLower(in)
		}
		if !strings.Contains(in, text) || !t.has(f) {
			return true
		}
		if found.more = len(found.files) == searchListed; found.more {
			return false
		}
		found.files = append(found.files, f)
		return true
	})
	return found
}

// explorerHelp is what ? shows. It fits into 40 columns.
var explorerHelp = slices.Collect(strings.Lines(`Keys
  tab, shift+tab   next, previous part
  up down, k j     move
  pgup pgdown      move by a screenful
  home end, g G    first, last
  right, l, enter  open a directory
  left, h          close it, or go up
  enter            on waste: show the file
  /                search; n N next, back
  t                a layer's files alone,
                   or with those below it
  s                by size, or by name
  q, ctrl+c        quit
Marks
  A  added
  M  another content, or type
  S  stored again, the same content
  D  deleted
`))
