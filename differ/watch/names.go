package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Names follows paths: what they lead to, and where that is a file, its content.
// Methods may be called concurrently. The caller closes it.
type Names struct {
	news func()

	mu    sync.Mutex
	queue *queue
	paths []string
	// names are those that matter in a directory, by its watch.
	names map[int32]map[string]bool
}

// maxLinks is how many symbolic links are followed in one path, as in the kernel.
const maxLinks = 40

// namesMask is what directories are watched for that have components of paths.
const namesMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE |
	unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// OpenNames begins to follow paths. news is called when one of them may lead to
// something else, or to a file that has changed, by another goroutine. It must not
// wait, nor call the Names.
func OpenNames(news func()) (*Names, error) {
	q, err := newQueue()
	if err != nil {
		return nil, errors.New(limitText(err, "fs.inotify.max_user_instances"))
	}
	n := &Names{news: news, queue: q, names: make(map[int32]map[string]bool)}
	go n.listen()
	return n, nil
}

// Follow sets the paths that are followed, in place of those before. Components that
// do not exist are followed too, so that it is seen when they come.
func (n *Names) Follow(paths []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths = paths
	return n.refresh()
}

// Close ends following.
func (n *Names) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.queue.close()
}

func (n *Names) refresh() error {
	old := n.names
	n.names = make(map[int32]map[string]bool)
	var errs []error
	for _, path := range n.paths {
		abs, err := filepath.Abs(path)
		if err == nil {
			err = n.follow(abs)
		}
		errs = append(errs, err)
	}
	for wd := range old {
		if n.names[wd] == nil {
			n.queue.remove(wd)
		}
	}
	return errors.Join(errs...)
}

// follow watches the directories of all components of a path, through links.
func (n *Names) follow(path string) error {
	at, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		if err := n.watch(at, name); err != nil {
			return err
		}
		link, err := os.Readlink(filepath.Join(at, name))
		if err != nil {
			at = filepath.Join(at, name)
			continue
		}
		if links++; links > maxLinks {
			return nil // Opening it tells of that.
		}
		if filepath.IsAbs(link) {
			at = "/"
		}
		rest = append(strings.Split(link, "/"), rest...)
	}
	return nil
}

// watch watches a directory for a name. A directory that does not exist has none.
func (n *Names) watch(dir, name string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // The directory above it tells when it comes.
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written by it
	wd, err := n.queue.add(fd, namesMask)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return errors.New(limitText(err, "fs.inotify.max_user_watches"))
	}
	if n.names[wd] == nil {
		n.names[wd] = make(map[string]bool)
	}
	n.names[wd][name] = true
	return nil
}

func (n *Names) listen() {
	buf := make([]byte, 64<<10)
	for {
		some := false
		err := n.queue.read(buf, func(e event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			some = some || e.mask&unix.IN_Q_OVERFLOW != 0 || n.names[e.wd][e.name] ||
				e.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 && n.names[e.wd] != nil
		})
		if err != nil {
			return
		}
		if some {
			n.mu.Lock()
			_ = n.refresh() // What cannot be watched any more is looked at when everything is.
			n.mu.Unlock()
			n.news()
		}
	}
}
