package faults_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/test/harness"
)

// ceiling is what a run may have in use at a time whatever it is fed, but where it says otherwise; it takes 20 MiB by
// itself.
const ceiling = 128 << 20

// hang is when a run is taken for one that does not end. All of these take seconds.
const hang = 5 * time.Minute

// feed is something that costs more than it shows.
type feed struct {
	name string
	// fill writes the archive that is loaded without unpacking.
	fill func(*costly)
	// says is what that says; empty: it succeeds.
	says string
	// then is what is done with the image t:1 after that, what that says, and the ceiling for it, 0 for the usual one.
	then     []string
	thenSays string
	ceiling  int64
	// twin is an archive as large for which that takes no longer than it must; nil: this is not compared.
	twin func(*costly)
}

// feeds are the ways that are known, each of which has made a gigabyte of some kilobytes, or minutes.
func feeds() []feed {
	layers, listings := 4, 40
	reversed := feed{name: "names in reverse", fill: layerOf(120_000, true), ceiling: 256 << 20}
	if soak() {
		layers, listings = 12, 900
		// So many that the square of their number shows, also without differ/tree/tarball.TestSpoolManyInReverse.
		reversed.fill, reversed.twin, reversed.ceiling = layerOf(200_000, true), layerOf(200_000, false), 320<<20
	}
	const refused = "its zstd window of 512 MiB is above the limit of 128 MiB: compress it again"
	delta := []string{"delta", "scratch", "t:1", "-t", "d:1", "--output", "oci:out"}
	reversed.then = append(slices.Clip(delta), "--compression", "none")
	unpack := []string{"build", "--reader", "view", "--from", "t:1", "--copy", "archive:/", "-t", "u:1"}
	return []feed{
		// Two windows are open at a time, and one where layers are unpacked.
		{name: "windows", fill: windows(27, 1100, layers), then: delta, ceiling: 384 << 20},
		{name: "windows unpacked", fill: windows(27, 1100, layers/2), then: unpack, ceiling: 224 << 20},
		{name: "windows above the limit", fill: windows(29, 5000, 1), then: delta, thenSays: refused},
		{name: "windows above the limit unpacked", fill: windows(29, 5000, 1), then: unpack, thenSays: refused},
		{name: "one layer many times", fill: manyTimes(100_000, listings), then: delta, thenSays: "which is listed several times: the layers have more than", ceiling: 256 << 20},
		reversed,
		{name: "attestation", fill: attestation, says: "are more than the 8388608 that a manifest"},
		{name: "long names", fill: names(150, 900_000), says: "has more than 4095 bytes"},
		{name: "many names", fill: names(30_000, 4000), says: "the names in it have more than"},
		{name: "many layers", fill: func(c *costly) {
			c.file("manifest.json", []byte(`[{"Config":"c","Layers":[`+strings.Repeat(`"a",`, 2_000_000)+`"a"]}]`))
		}, says: "array of more than"},
		{name: "members", fill: manyMembers(700_000), says: "object of more than 10000 members"},
		{name: "members within the limit", fill: manyMembers(9_000), then: []string{"images"}, twin: manyMembers(10)},
	}
}

// windows is an image of layers with windows of 2 to the power of log bytes, of which each fills its own.
func windows(log byte, times, layers int) func(*costly) {
	return func(c *costly) {
		var list []blob
		var diffIDs []digest.Digest
		for i := range layers {
			packed, diffID := zstdLayer(c.t, log, times, i)
			list, diffIDs = append(list, c.blob(typeLayer+"+zstd", packed)), append(diffIDs, diffID)
		}
		c.end(c.image(list, diffIDs))
	}
}

// layerOf is an image of a layer of so many files, the first name first, or the last.
func layerOf(files int, reverse bool) func(*costly) {
	return func(c *costly) {
		packed, diffID := manyFiles(c.t, files, reverse)
		c.end(c.image([]blob{c.blob(typeLayer+"+gzip", packed)}, []digest.Digest{diffID}))
	}
}

// manyTimes is an image of one layer of so many files, so many times.
func manyTimes(files, times int) func(*costly) {
	return func(c *costly) {
		packed, diffID := manyFiles(c.t, files, true)
		layer := c.blob(typeLayer+"+gzip", packed)
		var list []blob
		var diffIDs []digest.Digest
		for range times {
			list, diffIDs = append(list, layer), append(diffIDs, diffID)
		}
		c.end(c.image(list, diffIDs))
	}
}

// attestation is an image with what calls itself an attestation beside it.
func attestation(c *costly) {
	image := c.image(nil, nil)
	image["platform"] = map[string]string{"os": "linux", "architecture": "amd64"}
	zeros := c.zeroManifest(200)
	zeros["platform"] = map[string]string{"os": "unknown", "architecture": "unknown"}
	zeros["annotations"] = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	c.end(c.json(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []blob{image, zeros}}))
}

// names is an archive of so many names of so many bytes, after what makes it large enough for them.
func names(number, length int) func(*costly) {
	return func(c *costly) {
		c.noise(number * length / 100)
		for i := range number {
			must(c.t, c.tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%s", i, strings.Repeat("x", length)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}))
		}
	}
}

// manyMembers is an image whose manifest has so many members more than it needs.
func manyMembers(number int) func(*costly) {
	return func(c *costly) {
		config := c.json(typeConfig, map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{}}})
		text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]%s}`,
			typeManifest, typeConfig, config["digest"], config["size"], members(number))
		c.end(c.blob(typeManifest, []byte(text)))
	}
}

// within runs a command, which ends by itself, says what it should, and never has more than so much memory in use.
func within(t *testing.T, cmd *exec.Cmd, says string, ceiling int64) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	peak, err := harness.RunPeak(cmd)
	t.Logf("%q: %d MiB: %.300s", cmd.Args[3:], peak>>20, out.String())
	switch exit := cmd.ProcessState; {
	case exit == nil || !exit.Exited():
		t.Errorf("%q: %v", cmd.Args, err)
	case says == "" && err != nil, says != "" && (err == nil || !strings.Contains(out.String(), says)):
		t.Errorf("%q: %v: %.1000s\nwant %q", cmd.Args, err, out.String(), says)
	}
	if peak > ceiling {
		t.Errorf("%q had %d MiB in use, more than %d", cmd.Args, peak>>20, ceiling>>20)
	}
}

// TestMemoryCeiling: what costs more than it shows is refused, or done within the ceiling.
func TestMemoryCeiling(t *testing.T) {
	harness.RequireRoot(t) // to unpack
	for _, f := range feeds() {
		t.Run(f.name, func(t *testing.T) {
			took := f.feed(t)
			if f.twin == nil {
				return
			}
			// What takes the square of the number takes seconds.
			f.fill = f.twin
			if least := f.feed(t); took > 2*least+300*time.Millisecond {
				t.Errorf("%q took %v of a processor, where another archive as large took %v", f.then, took, least)
			}
		})
	}
}

// feed loads the archive, and returns how much time of a processor took what is done then.
func (f feed) feed(t *testing.T) time.Duration {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/archive", f.fill)
	s := &stores{t: t, dir: dir, root: dir + "/root", tmp: dir, snapshotter: "native"}
	within(t, s.longCommand("load", "--no-unpack", "archive"), f.says, ceiling)
	if f.then == nil {
		return 0
	}
	then := s.longCommand(f.then...)
	within(t, then, f.thenSays, cmp.Or(f.ceiling, ceiling))
	return then.ProcessState.UserTime()
}

// longCommand is command for what may take long on a slow machine.
func (s *stores) longCommand(args ...string) *exec.Cmd {
	short := s.command(args...)
	ctx, cancel := context.WithTimeout(s.t.Context(), hang)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, short.Path, short.Args[1:]...)
	cmd.Dir, cmd.Env = short.Dir, short.Env
	return cmd
}

// TestTokenCeiling: a token server whose path looks like that of a blob may not say more than others.
func TestTokenCeiling(t *testing.T) {
	const most = 600 << 20
	sent := 0
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/blobs/token",service="x"`, server.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		piece := bytes.Repeat([]byte("A"), 1<<20)
		_, err := w.Write([]byte(`{"token":"`))
		for ; err == nil && sent < most; sent += len(piece) {
			_, err = w.Write(piece)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/tmp", 0o755))
	s := &stores{t: t, dir: dir, root: dir + "/root", tmp: dir + "/tmp", snapshotter: "native"}
	within(t, s.longCommand("pull", "--no-unpack", strings.TrimPrefix(server.URL, "http://")+"/x:1"), "the registry's answer is longer than", ceiling)
	server.CloseClientConnections()
	if sent >= most {
		t.Errorf("all of %d bytes were taken", sent)
	}
}
