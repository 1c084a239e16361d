package differential_test

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// TestCorpus: Dockerfiles of the shapes that public ones have are converted, built, warned of and written into the
// history as BuildKit does. Each file below testdata/corpus is one of them with its build context: see readCase.
func TestCorpus(t *testing.T) {
	harness.RequireRoot(t)
	names, err := filepath.Glob("testdata/corpus/*.txt")
	must(t, err)
	if len(names) < 60 {
		t.Fatalf("%d Dockerfiles, and at least 60 are wanted", len(names))
	}
	p := newPeers(t)
	all := os.Getenv("VENEER_SOAK") == "1"
	for i, name := range names {
		if i%4 != 0 && !all {
			continue // Each takes BuildKit and Veneer some seconds.
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			c := readCase(t, name)
			for _, image := range c.images {
				image, base, ok := strings.Cut(image, "=")
				if !ok {
					base = "plain"
				}
				if !strings.Contains(image, "/") {
					image = "docker.io/library/" + image
				}
				if !strings.Contains(image, ":") {
					image += ":latest"
				}
				p.name(t, base, image)
			}
			// A daemon takes seconds for each RUN: of a sample is enough.
			want, problems := p.compare(t, c.task, i%9 == 0 || all)
			for _, text := range problems {
				t.Error(text)
			}
			if (want.err == nil) != (c.fails == "") || c.fails != "" && !strings.Contains(want.err.Error(), c.fails) {
				t.Errorf("BuildKit's error is %v", want.err)
			}
		})
	}
}

// kase is a Dockerfile, its context, and what it needs.
type kase struct {
	task
	images []string
	fails  string
}

// readCase reads a file of lines "key: value", then of files each under a line "-- NAME [MODE] --", or of links
// "-- NAME -> TARGET --". The keys are images (NAME or NAME=BASE, which is plain or rich), arg, label, secret
// (NAME=VALUE), target, and fails, a part of BuildKit's error. The file Dockerfile.dockerignore is not in the context.
func readCase(t *testing.T, path string) kase {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	c := kase{task: task{context: t.TempDir(), args: map[string]string{}, labels: map[string]string{}, secrets: map[string]string{}}}
	head, rest, _ := strings.Cut("\n"+string(data), "\n-- ")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		name, is, _ := strings.Cut(value, "=")
		switch {
		case !ok:
		case key == "images":
			c.images = strings.Fields(value)
		case key == "arg":
			c.args[name] = is
		case key == "label":
			c.labels[name] = is
		case key == "secret":
			c.secrets[name] = is
		case key == "target":
			c.target = value
		case key == "fails":
			c.fails = value
		default:
			t.Fatalf("%s: there is no key %s", path, key)
		}
	}
	for part := range strings.SplitSeq(rest, "\n-- ") {
		title, text, ok := strings.Cut(part, " --\n")
		if !ok {
			title, text = strings.TrimSuffix(part, " --"), ""
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n" // which the next title's mark took
		}
		switch title {
		case "Dockerfile":
			c.dockerfile = text
		case "Dockerfile.dockerignore":
			c.ignore = &text
		default:
			writeFile(t, c.context, title, text)
		}
	}
	settle(t, c.context)
	return c
}

func writeFile(t *testing.T, dir, title, text string) {
	t.Helper()
	name, to, link := strings.Cut(title, " -> ")
	mode := ""
	if at := strings.LastIndex(name, " "); at >= 0 && octal.MatchString(name[at+1:]) {
		name, mode = name[:at], name[at+1:]
	}
	at := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(at), 0o755))
	if link {
		must(t, os.Symlink(to, at))
		return
	}
	bits := uint64(0o644)
	if mode != "" {
		var err error
		bits, err = strconv.ParseUint(mode, 8, 32)
		must(t, err)
	}
	must(t, os.WriteFile(at, []byte(text), 0o600))
	must(t, unix.Chmod(at, uint32(bits)))
}

var octal = regexp.MustCompile(`^[0-7]{3,4}$`)

// settle gives each file of a context a time that depends on its name and content alone: the two builders' caches may
// have it from an earlier build.
func settle(t *testing.T, dir string) {
	t.Helper()
	var dirs []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			dirs = append(dirs, p)
			return err
		}
		h := fnv.New32a()
		if d.Type().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			_, _ = h.Write(data)
		}
		fmt.Fprint(h, filepath.Base(p))
		return stamp(p, old.Add(time.Duration(h.Sum32()%10_000_000)*time.Second))
	}))
	for _, p := range dirs {
		must(t, stamp(p, old))
	}
}

func stamp(p string, at time.Time) error {
	ts := unix.NsecToTimespec(at.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
