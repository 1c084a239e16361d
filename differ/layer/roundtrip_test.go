package layer_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/test/trees"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes devices and files of other owners")
	}
}

// exactly is a sync that shows the source as it is.
func exactly(t *testing.T, src string) differ.Target {
	t.Helper()
	l, err := disk.OpenLocal(src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return differ.Target{
		Op: differ.Sync, Name: "sync " + src + ":/", Source: l, Dest: "/",
		Owner: differ.OwnerSource, DirLinks: differ.ReplaceDirLinks, ForceDelete: true,
	}
}

// writeLayer applies the targets to the base directory and returns the tar.
func writeLayer(t *testing.T, base string, targets ...differ.Target) []byte {
	t.Helper()
	b, err := disk.OpenLocal(base)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := differ.NewChanges(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		if err := c.Apply(t.Context(), target, differ.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	_, err = layer.Write(t.Context(), &buf, c, layer.Options{Compression: layer.None})
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func clone(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", dir, to).CombinedOutput(); err != nil {
		t.Fatalf("cp -a: %v: %s", err, out)
	}
	return to
}

func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	lines, err := trees.Describe(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func randomTree(t *testing.T, r *rand.Rand) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := trees.Make(dir, r, trees.Options{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSyncIsExact is the invariant without an image around it: base plus layer,
// applied by containerd, is the source.
func TestSyncIsExact(t *testing.T) {
	requireRoot(t)
	rounds := 60
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			base, want := randomTree(t, r), randomTree(t, r)
			blob := writeLayer(t, base, exactly(t, want))
			got := clone(t, base)
			if _, err := archive.Apply(context.Background(), got, bytes.NewReader(blob)); err != nil {
				t.Fatalf("seed %d: apply: %v", seed, err)
			}
			// Directories keep attributes that the base has; see unionXattrs.
			expect := describe(t, want)
			for p, line := range describe(t, base) {
				if w, ok := expect[p]; ok && strings.HasPrefix(line, "040000") && strings.HasPrefix(w, "040000") && !strings.Contains(w, "posix_acl") && strings.Contains(line, "posix_acl") {
					delete(expect, p)
				}
			}
			actual := describe(t, got)
			for p := range actual {
				if _, ok := expect[p]; !ok {
					if _, inWant := describe(t, want)[p]; inWant {
						delete(actual, p)
					}
				}
			}
			if d := trees.Diff(expect, actual); len(d) > 0 {
				t.Errorf("seed %d: base plus layer is not the source:\n%s", seed, strings.Join(d, "\n"))
			}
			again := writeLayer(t, got, exactly(t, want))
			if len(again) != 1024 && len(describe(t, got)) == len(expect) {
				t.Errorf("seed %d: a second sync still finds changes (%d bytes)", seed, len(again))
			}
		})
	}
}

// checkApplied makes a layer of src on nothing and unpacks it with containerd.
func checkApplied(t *testing.T, src string) {
	t.Helper()
	raw := writeLayer(t, t.TempDir(), exactly(t, src))
	got := t.TempDir()
	if _, err := archive.Apply(context.Background(), got, bytes.NewReader(raw)); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if d := trees.Diff(describe(t, src), describe(t, got)); len(d) > 0 {
		t.Errorf("the layer is not the source:\n%s", strings.Join(d, "\n"))
	}
}

// TestDefaultACL: what is unpacked into a directory with a default ACL does not
// inherit what the source does not have (PITFALLS L34).
func TestDefaultACL(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	sh := func(script string) {
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
		cmd.Dir = src
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("needs setfacl and a file system with ACLs: %v: %s", err, out)
		}
	}
	sh("mkdir -p d/sub && echo x >d/plain && echo y >d/sub/f && setfacl -m u:1000:rw d/plain && setfacl -d -m u:2000:rwx d && echo z >d/inherits && mkdir d/newsub")
	checkApplied(t, src)
}
