package faults_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// ledger says what a power loss may take from a directory on a file system that keeps just what fsync(2) promises: of a
// file the bytes that were there when it was synced, of a directory the names. File systems keep more by chance, since
// a journal takes one file's changes along with another's, so that a real power loss does not show each sync missing.
type ledger struct {
	t   *testing.T
	dir string
	dev uint64 // that dir is on
	// before is what the directory held, durably.
	before map[name]inode
	calls  int
	// When, in calls, a file was written last, a name made last, and a file or directory synced last.
	written map[inode]int
	named   map[name]int
	synced  map[inode]int
	// snapshots is when what is below a directory of snapshotters was, by syncfs(2). The rest may be on another disk.
	snapshots int
}

type inode uint64

// name is a directory's entry.
type name struct {
	dir  inode
	base string
}

// newLedger returns the ledger of a directory, which is one file system.
func newLedger(t *testing.T, dir string) *ledger {
	t.Helper()
	l := &ledger{t: t, dir: dir, before: map[name]inode{}, written: map[inode]int{}, named: map[name]int{}, synced: map[inode]int{}}
	var st unix.Stat_t
	must(t, unix.Stat(dir, &st))
	l.dev = st.Dev
	l.walk(func(_ string, entry name, ino inode, _ fs.FileInfo) { l.before[entry] = ino })
	return l
}

func (l *ledger) walk(visit func(path string, entry name, ino inode, info fs.FileInfo)) {
	l.t.Helper()
	must(l.t, filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == l.dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		visit(path, entryOf(path), ino(path), info)
		return nil
	}))
}

// ino is 0 for what is not there.
func ino(path string) inode {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return inode(st.Ino)
}

func entryOf(path string) name { return name{ino(filepath.Dir(path)), filepath.Base(path)} }

// enter takes down a call that is about to be made, by whatever path: a directory can be mounted elsewhere too.
func (l *ledger) enter(c sysCall) {
	l.calls++
	proc := fmt.Sprintf("/proc/%d/", c.tid)
	switch c.name {
	case "openat":
		if path := proc + "root" + c.path; ino(path) == 0 {
			l.named[entryOf(path)] = l.calls
		}
	case "mkdirat", "mknodat", "symlinkat", "linkat", "renameat", "renameat2":
		l.named[entryOf(proc+"root"+c.path)] = l.calls
	case "write", "pwrite64", "ftruncate", "fallocate", "copy_file_range", "fchmod", "fsetxattr", "fsync", "fdatasync":
		var st unix.Stat_t
		if int32(c.fd) < 0 { // as the kernel takes it
			return // the call fails
		}
		must(l.t, unix.Stat(fmt.Sprint(proc, "fd/", c.fd), &st))
		switch {
		case st.Dev != l.dev:
		case c.syncs():
			l.synced[inode(st.Ino)] = l.calls
		default:
			l.written[inode(st.Ino)] = l.calls
		}
	case "syncfs":
		l.snapshots = l.calls
	}
}

// unsynced lists what a power loss may take now.
func (l *ledger) unsynced() []string {
	l.t.Helper()
	var lost []string
	// What nobody misses: the lock, and directories that are made when they are not there.
	again := regexp.MustCompile(`/root/(lock|readers|reserve|tmp|cache|cache/sha256|content/ingest|snapshotters/native/snapshots)$`)
	l.walk(func(path string, entry name, ino inode, info fs.FileInfo) {
		if again.MatchString(path) {
			return
		}
		isNew := l.before[entry] != ino
		all := 0
		if strings.Contains(path, "/snapshotters/overlayfs/") {
			all = l.snapshots
		}
		if made, ok := l.named[entry]; isNew && (!ok || max(l.synced[entry.dir], all) < made) {
			lost = append(lost, "name "+path)
		}
		synced := max(l.synced[ino], all)
		if info.Mode().IsRegular() && (synced < l.written[ino] || isNew && info.Size() > 0 && synced == 0) {
			lost = append(lost, "bytes "+path)
		}
	})
	slices.Sort(lost)
	return lost
}

// TestSynced: when success is printed, whatever the embedded engine and the program have written is synced, each name
// in its directory too; and without any kind of syncs it is not.
func TestSynced(t *testing.T) {
	harness.Check(t, canReplace())
	harness.RequireRoot(t)
	tried := 0
	for _, v := range syncedVerbs() {
		t.Run(v.name, func(t *testing.T) {
			all, lost := v.run(t, "nothing")
			if len(lost) > 0 {
				t.Errorf("printed success before this was synced:\n\t%s", strings.Join(lost, "\n\t"))
			}
			for _, without := range slices.Sorted(maps.Keys(all)) {
				// bolt's own: when the file has grown, and once more, as fdatasync(2), when its bytes are written.
				if strings.HasPrefix(without, "fsync ") && strings.HasSuffix(without, ".db") {
					continue
				}
				_, lost := v.run(t, without)
				tried++
				if len(lost) == 0 {
					t.Errorf("nothing is lost without its %d calls of %s", all[without], without)
				}
			}
		})
	}
	t.Logf("faults: synced before success: %d commands, and %d kinds of syncs taken out", len(syncedVerbs()), tried)
}

// syncedVerb is a command on disk/root that may write files to disk/out.
type syncedVerb struct {
	name string
	// prepare is done before, durably.
	prepare func(s *stores, out string)
	args    func(out string) []string
}

func syncedVerbs() []syncedVerb {
	build := []string{"build", "--from", "scratch", "--copy", "note:/etc/note", "-t", "base:1"}
	more := []string{"build", "--from", "base:1", "--copy", "note:/app/note", "-t", "app:1"}
	prepare := func(s *stores, _ string) { s.ok(build...) }
	save := func(out string) []string { return []string{"save", "base:1", "-o", out + "/base.tar"} }
	return []syncedVerb{
		{name: "new root", prepare: func(*stores, string) {}, args: func(string) []string { return build }},
		{name: "build", prepare: prepare, args: func(string) []string { return more }},
		{name: "build in place of another", prepare: func(s *stores, _ string) {
			s.ok(build...)
			s.ok("tag", "base:1", "app:1")
		}, args: func(string) []string { return more }},
		{name: "build --no-unpack", prepare: prepare, args: func(string) []string { return append(more, "--no-unpack") }},
		{name: "build, result files", prepare: prepare, args: func(out string) []string {
			return append(more, "--iidfile", out+"/iid", "--metadata-file", out+"/metadata")
		}},
		{name: "save", prepare: prepare, args: save},
		{name: "save in place of another", prepare: func(s *stores, out string) {
			s.ok(build...)
			s.ok(save(out)...)
		}, args: save},
		{name: "export", prepare: prepare, args: func(out string) []string { return []string{"export", "base:1", "-o", out + "/files.tar"} }},
		{name: "load", prepare: func(s *stores, out string) {
			s.ok(build...)
			s.ok(save(out)...)
			s.ok("rmi", "base:1")
			s.ok("prune")
		}, args: func(out string) []string { return []string{"load", out + "/base.tar"} }},
		{name: "delta to a layout", prepare: func(s *stores, _ string) {
			s.ok(build...)
			s.ok(more...)
		}, args: func(out string) []string {
			return []string{"delta", "base:1", "app:1", "--output", "oci:" + out + "/layout"}
		}},
	}
}

// run runs the command on a new disk without the syncs of one kind. It returns the kinds, with how many calls there
// were of each, and what a power loss would have taken when success was printed, or at the end of what prints none.
func (v syncedVerb) run(t *testing.T, without string) (syncs map[string]int, lost []string) {
	t.Helper()
	dir := t.TempDir()
	s := &stores{t: t, dir: dir, root: dir + "/disk/new/root", tmp: dir + "/tmp", snapshotter: "overlayfs"}
	out := dir + "/disk/out"
	must(t, os.MkdirAll(out, 0o755), os.Mkdir(s.tmp, 0o755))
	(&world{t: t, dir: dir}).write("note", "note\n")
	v.prepare(s, out)
	l := newLedger(t, dir+"/disk")
	syncs = map[string]int{}
	printed := false
	status, stderr := judged(t, s.command(v.args(out)...), func(c sysCall) verdict {
		if c.name == "write" && c.fd == 1 && !printed {
			printed = true
			lost = l.unsynced()
		}
		if printed {
			return 0
		}
		if kind := kindOf(c, l.dir); c.syncs() && strings.HasPrefix(c.path, l.dir) {
			syncs[kind]++
			if kind == without {
				return dropped
			}
		}
		l.enter(c)
		return 0
	})
	if status.ExitStatus() != 0 {
		t.Fatalf("%q: %v: %s", v.args(out), status, stderr)
	}
	if !printed {
		lost = l.unsynced()
	}
	return syncs, lost
}
