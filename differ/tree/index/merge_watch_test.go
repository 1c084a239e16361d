package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// TestWatch plays back what a watcher is told of random stacks: after each layer it is the tree that the layers up to
// it make, and what is said to have been there before was there.
func TestWatch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		layers, text := genStack(rt, MergeOptions{}, func(_ int, _ treetest.Header, _ *Merged, err error) bool { return err == nil })
		told := playback(rt, layers, text)
		for i := range layers {
			m, err := mergeTars(layers[:i+1], MergeOptions{})
			if err != nil {
				rt.Fatal(err)
			}
			if want := shownPaths(m); !maps.Equal(told[i], want) {
				rt.Fatalf("%s\nlayer %d: %v\nwant %v", text, i, told[i], want)
			}
		}
	})
}

// TestWatchStops: an error of the watcher is the error of the merge.
func TestWatchStops(t *testing.T) {
	layers := [][]byte{treetest.Layer{treetest.Header{Typeflag: '0', Name: "a/b"}}.Bytes(t)}
	stop := errors.New("stop")
	if err := watchTars(layers, func(Covered) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}

// playback returns what there is after each layer.
func playback(t *rapid.T, layers [][]byte, text string) []map[string]string {
	now := map[string]string{}
	var after []map[string]string
	open := []string{""} // directories, by their depths
	err := watchTars(layers, func(c Covered) error {
		for len(after) < c.Layer {
			after = append(after, maps.Clone(now))
		}
		dir := open[c.Depth]
		p := tree.JoinPath(dir, c.Name)
		open = append(open[:c.Depth+1], p)
		if dir != "" && now[dir] == "" && c.New.Exists() {
			t.Fatalf("%s\n%s is in no directory", text, p)
		}
		if old := shownText(c.Old); old != now[p] {
			t.Fatalf("%s\nlayer %d: %s was %q, and one is told %q", text, c.Layer, p, now[p], old)
		}
		now[p] = shownText(c.New)
		if now[p] == "" {
			delete(now, p)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	for len(after) < len(layers) {
		after = append(after, maps.Clone(now))
	}
	return after
}

func shownText(s Shown) string {
	switch {
	case !s.Exists():
		return ""
	case s.IsDir():
		return fmt.Sprintf("%o", s.Mode)
	}
	return fmt.Sprintf("%o %d %d %x", s.Mode, s.Layer, s.Entry.Size, s.Entry.Digest())
}

// nodeText is shownText of a node of a tree.
func nodeText(n *node) string {
	if n.dir != nil {
		return fmt.Sprintf("%o", n.mode)
	}
	return fmt.Sprintf("%o %d %d %x", n.mode, n.layer, n.rec.Size, n.rec.Digest)
}

func watchTars(layers [][]byte, watch func(Covered) error) error {
	var list []*Packed
	for _, l := range layers {
		p, err := ScanPacked(context.Background(), bytes.NewReader(l), nil)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	return Watch(context.Background(), list, watch)
}

func shownPaths(m *Merged) map[string]string {
	all := map[string]string{}
	var walk func(string, *node)
	walk = func(p string, n *node) {
		for _, c := range n.dir.list {
			all[tree.JoinPath(p, c.name)] = nodeText(c.node)
			if c.node.dir != nil {
				walk(tree.JoinPath(p, c.name), c.node)
			}
		}
	}
	walk("", m.root)
	return all
}
