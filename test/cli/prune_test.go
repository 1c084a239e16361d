package cli_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/test/harness"
)

// killedLoad kills a load that has half of a blob.
func (b *bench) killedLoad() {
	b.t.Helper()
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	add(b.t, w, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	name := "blobs/sha256/" + digest.FromString("x").Encoded()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 8 << 20}); err != nil {
		b.t.Fatal(err)
	}
	cmd := b.command("load", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	if _, err := in.Write(append(head.Bytes(), make([]byte, 4<<20)...)); err != nil {
		b.t.Fatal(err)
	}
	for began := time.Now(); !b.hasIngest(1 << 20); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			b.t.Fatal("nothing is written")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

// hasIngest reports whether half a blob of at least the size is on disk.
func (b *bench) hasIngest(size int64) (found bool) {
	_ = filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "data" || !strings.Contains(path, "ingest") {
			return nil //nolint:nilerr // what is gone is none
		}
		if info, err := d.Info(); err == nil && info.Size() >= size {
			found = true
		}
		return nil
	})
	return found
}

// prune counts what a killed load had written, and what nothing refers to; with
// --dry-run beforehand, and then all of it is still there.
func TestPruneCounts(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.write("file", "data")
		b.ok("build", "--from", "base", "--copy", "file:/file") // it has no name
		b.killedLoad()
		type pruned struct {
			DryRun      bool `json:"dry_run"`
			Ingests     []string
			Leases      []string
			IngestBytes int64 `json:"ingest_bytes"`
			Blobs       int64
			BlobBytes   int64 `json:"blob_bytes"`
		}
		b.ok("prune", "--dry-run")
		text := b.ok("prune", "--dry-run")
		would := decode[pruned](t, b.ok("prune", "--dry-run", "--format", "json"))
		if !would.DryRun || len(would.Ingests) != 1 || len(would.Leases) != 1 || would.IngestBytes < 1<<20 || would.Blobs < 3 {
			t.Errorf("would prune %+v", would)
		}
		if !strings.Contains(text, "would remove ") || !strings.Contains(text, "; 1 half-written blob, ") {
			t.Errorf("would prune:\n%s", text)
		}
		if !b.hasIngest(1 << 20) {
			t.Error("--dry-run removed what was half written")
		}
		did := decode[pruned](t, b.ok("prune", "--format", "json"))
		if did.DryRun || len(did.Ingests) != 1 || did.IngestBytes != would.IngestBytes || did.Blobs != would.Blobs || did.BlobBytes != would.BlobBytes {
			t.Errorf("pruned %+v, would have %+v", did, would)
		}
		if b.hasIngest(0) {
			t.Error("what was half written is still there")
		}
		b.nothingInUse()
		if o := b.ok("prune", "--dry-run"); o != "would remove 0 blobs, 0 B\n" {
			t.Errorf("what is left afterwards: %s", o)
		}
	})
}

// A daemon can lose the name of a half-written blob, so that it neither lists nor collects it. prune removes what has
// been so for a while, and leaves what the daemon may be about to name.
func TestPruneNameless(t *testing.T) {
	d := harness.Start(t, harness.Containerd2)
	b := newBench(t).onDaemon(d)
	ingests := filepath.Join(d.Root(), "io.containerd.content.v1.content", "ingest")
	past := time.Now().Add(-time.Hour)
	for name, files := range map[string]map[string]string{
		"new": {"updatedat": "now"}, "lost": {"updatedat": "now"}, "empty": {"ref": "", "data": "12345"}, "named": {"ref": "default/1/other", "data": ""},
	} {
		dir := filepath.Join(ingests, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, data := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if name == "new" {
			continue
		}
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	want := "ingest empty\ningest lost\n%s 0 blobs, 0 B; 2 half-written blobs, 8 B\n"
	if got := b.ok("prune", "--dry-run"); got != fmt.Sprintf(want, "would remove") {
		t.Errorf("prune --dry-run: %s", got)
	}
	if got := b.ok("prune"); got != fmt.Sprintf(want, "removed") {
		t.Errorf("prune: %s", got)
	}
	left, err := os.ReadDir(ingests)
	if err != nil || len(left) != 2 || left[0].Name() != "named" || left[1].Name() != "new" {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := os.RemoveAll(filepath.Join(ingests, "named")); err != nil {
		t.Fatal(err)
	}
}

// A killed build leaves its lease and the snapshots that it worked with; prune
// names them and takes them away.
func TestPruneKilledBuild(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.big("big", 50, 2<<20)
		b.leavesNothing(func() {
			b.signalAfter("compare:", syscall.SIGKILL, []string{"--progress", "plain", "build", "--no-cache", "--from", "base", "--copy", "big/:/big", "-t", "new"})
			type pruned struct{ Leases, Snapshots []string }
			would := decode[pruned](t, b.ok("prune", "--dry-run", "--format", "json"))
			// An ordinary user's builds make no snapshots.
			if len(would.Leases) != 1 || (len(would.Snapshots) > 0) == b.ordinary() {
				t.Errorf("would prune %+v", would)
			}
			if did := decode[pruned](t, b.ok("prune", "--format", "json")); !reflect.DeepEqual(did, would) {
				t.Errorf("pruned %+v, would have %+v", did, would)
			}
			if left := decode[pruned](t, b.ok("prune", "--dry-run", "--format", "json")); len(left.Leases)+len(left.Snapshots) > 0 {
				t.Errorf("left %+v", left)
			}
		})
	})
}
