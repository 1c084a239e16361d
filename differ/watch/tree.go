package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// Options are options of [Open].
type Options struct {
	// Skip reports whether a directory is left out, with everything below it. Its
	// argument is the path below the root. nil: none is.
	Skip func(path string) bool
	// Own are directories that are left out wherever they are.
	Own []tree.Inode
	// News is called when there may be something to take, by another goroutine. It must
	// not wait, nor call the Tree.
	News func()
}

// Tree follows a directory of this host and everything below it. Mount points are not
// crossed. Methods may be called concurrently. The caller closes it.
type Tree struct {
	Options
	root *disk.Local

	mu    sync.Mutex
	queue *queue // nil: there are no events
	blind string
	gone  bool
	top   *dir
	dirs  map[int32]*dir
	// links are the directories that have names of a file, by the file's watch.
	links  map[int32][]string
	linked map[string]bool // names of such files
	spots  *differ.Spots
	added  int
}

// dir is a directory that is watched.
type dir struct {
	name string
	up   *dir // nil for the root, and for one that is not followed any more
	kids map[string]*dir
	wd   int32 // -1: it is not watched
}

// maxSpots is the number of changes from which the whole tree is looked at: the spots
// would take more memory than the files.
const maxSpots = 100_000

// treeMask is what directories, and files with several names, are watched for.
const treeMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE |
	unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_EXCL_UNLINK

// Open begins to follow a directory. root stays the caller's, and open until the Tree
// is closed. Where there can be no events, [Tree.Blind] tells the reason.
func Open(ctx context.Context, root *disk.Local, o Options) (*Tree, error) {
	t := &Tree{Options: o, root: root, spots: differ.Everywhere()}
	if t.blind = unseen(root); t.blind == "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t, t.start(ctx)
	}
	return t, nil
}

// start watches all directories by a new queue.
func (t *Tree) start(ctx context.Context) error {
	q, err := newQueue()
	if err != nil {
		t.blind = limitText(err, "fs.inotify.max_user_instances")
		return nil
	}
	t.queue, t.top = q, &dir{wd: -1}
	t.dirs, t.links, t.linked = make(map[int32]*dir), make(map[int32][]string), make(map[string]bool)
	if err := t.follow(ctx, t.top); err != nil {
		return errors.Join(err, q.close())
	}
	if t.queue != nil {
		go t.listen(q) //nolint:contextcheck // it goes on after Open, until Close
	}
	return nil
}

// Take returns where something may have changed since the last call, and before the
// first everything. The caller looks there after it has taken them.
func (t *Tree) Take() *differ.Spots {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.spots
	t.spots, t.added = &differ.Spots{}, 0
	if t.blind != "" {
		return differ.Everywhere()
	}
	return taken
}

// Blind tells why there are no events; empty: there are.
func (t *Tree) Blind() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blind
}

// Gone reports whether the directory itself was moved, removed or unmounted. There are
// no more events then.
func (t *Tree) Gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// Dirs returns the number of directories that are watched.
func (t *Tree) Dirs() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.dirs)
}

// Linked says that a file has several names, some of which may be outside of the tree.
// It is then watched itself, by whatever name it is written to. It returns false if it
// is already. What happened before Linked returns may have no event.
func (t *Tree) Linked(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue == nil || t.linked[path] {
		return false
	}
	fd, err := t.root.Descriptor(path, unix.O_PATH)
	if err != nil {
		return true // It has changed since it was seen.
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written by it
	wd, err := t.queue.add(fd, treeMask)
	if err != nil {
		t.stop(limitText(err, "fs.inotify.max_user_watches"))
		return true
	}
	t.linked[path] = true
	if up := parent(path); !slices.Contains(t.links[wd], up) {
		t.links[wd] = append(t.links[wd], up)
	}
	return true
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// Close ends following.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue == nil {
		return nil
	}
	q := t.queue
	t.queue = nil
	return q.close()
}

// stop ends the events, for a reason.
func (t *Tree) stop(why string) {
	t.blind, t.dirs, t.links, t.linked, t.top = why, nil, nil, nil, nil
	if q := t.queue; q != nil {
		t.queue = nil
		_ = q.close() // It is only read.
	}
}

// listen takes events from the queue until that is closed.
func (t *Tree) listen(q *queue) {
	buf := make([]byte, 64<<10)
	for {
		err := q.read(buf, func(e event) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.queue == q { // It has not been closed meanwhile.
				t.handle(e)
			}
		})
		if err != nil {
			t.mu.Lock()
			if t.queue == q {
				t.stop(fmt.Sprintf("the kernel's events cannot be read: %v", err))
			}
			t.mu.Unlock()
		}
		if t.News != nil {
			t.News()
		}
		if err != nil {
			return
		}
	}
}

func (t *Tree) handle(e event) {
	d := t.dirs[e.wd]
	switch {
	case e.mask&unix.IN_Q_OVERFLOW != 0:
		t.again()
	case d == nil:
		t.handleLink(e)
	case e.mask&unix.IN_IGNORED != 0:
		delete(t.dirs, e.wd)
		d.wd = -1
		t.gone = t.gone || d == t.top
	case e.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0:
		t.gone = t.gone || d == t.top // Of others their parent directories tell.
	default:
		t.handleName(d, e)
	}
}

// handleLink handles an event of a file with several names.
func (t *Tree) handleLink(e event) {
	for _, up := range t.links[e.wd] {
		t.add(up, false)
	}
	if e.mask&unix.IN_IGNORED != 0 {
		delete(t.links, e.wd)
	}
}

// handleName handles an event of a directory, or of a name in it.
func (t *Tree) handleName(d *dir, e event) {
	path := d.path()
	t.add(path, false)
	const moves = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	if e.name == "" || e.mask&moves == 0 {
		return
	}
	below := tree.JoinPath(path, e.name)
	delete(t.linked, below)
	if e.mask&unix.IN_ISDIR == 0 {
		return
	}
	maps.DeleteFunc(t.linked, func(path string, _ bool) bool { return strings.HasPrefix(path, below+"/") })
	t.leave(d.kids[e.name])
	t.add(below, true)
	if e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
		kid := &dir{name: e.name, up: d, wd: -1}
		if err := t.follow(context.Background(), kid); err != nil {
			t.stop(err.Error())
		}
	}
}

func (t *Tree) add(path string, below bool) {
	if t.added++; t.added > maxSpots {
		path, below = "", true
	}
	t.spots.Add(path, below)
}

// again starts anew, after events were lost.
func (t *Tree) again() {
	t.add("", true)
	q := t.queue
	t.queue = nil
	_ = q.close() // It is only read.
	if err := t.start(context.Background()); err != nil {
		t.stop(err.Error())
	}
}

func (d *dir) path() string {
	if d.up == nil {
		return d.name
	}
	return tree.JoinPath(d.up.path(), d.name)
}

// leave stops following a directory, and everything below it.
func (t *Tree) leave(d *dir) {
	if d == nil {
		return
	}
	delete(d.up.kids, d.name)
	for rest := []*dir{d}; len(rest) > 0; {
		last := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if last.wd >= 0 {
			delete(t.dirs, last.wd)
			t.queue.remove(last.wd)
		}
		for _, kid := range last.kids {
			rest = append(rest, kid)
		}
		last.kids, last.wd = nil, -1
	}
}

// follow watches a directory, and everything below it. What vanishes meanwhile has
// events.
func (t *Tree) follow(ctx context.Context, d *dir) error {
	for rest := []*dir{d}; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		last := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		path := last.path()
		if path != "" && t.Skip != nil && t.Skip(path) {
			continue
		}
		names, err := t.watch(path, last)
		switch {
		case errors.As(err, new(*os.SyscallError)):
			t.stop(limitText(err, "fs.inotify.max_user_watches"))
			return nil
		case err != nil && last.up == nil:
			return err
		case err != nil:
			continue // It has vanished, is a mount point, or cannot be read, which the comparison tells.
		}
		for _, name := range names {
			rest = append(rest, &dir{name: name, up: last, wd: -1})
		}
	}
	return nil
}

// watch watches one directory, and returns the directories in it.
func (t *Tree) watch(path string, d *dir) ([]string, error) {
	fd, err := t.root.Descriptor(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer f.Close() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if slices.Contains(t.Own, tree.Inode{Dev: uint64(st.Dev), Ino: st.Ino}) {
		return nil, nil
	}
	wd, err := t.queue.add(fd, treeMask|unix.IN_ONLYDIR)
	if err != nil {
		return nil, err
	}
	t.take(wd, d)
	entries, err := f.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.Type() == fs.ModeDir {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// take gives a watch to a directory. If it is another's, that one was moved here, and
// its event is still to come.
func (t *Tree) take(wd int32, d *dir) {
	if was := t.dirs[wd]; was != nil && was != d {
		was.wd = -1
		t.add(was.path(), true)
	}
	d.wd, t.dirs[wd] = wd, d
	if d.up != nil {
		if d.up.kids == nil {
			d.up.kids = make(map[string]*dir)
		}
		d.up.kids[d.name] = d
	}
}
