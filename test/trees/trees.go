package trees

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Describe returns a line for each path below dir, without dir itself: type,
// mode, owner, size, content, link target, device, kept attributes and the
// names of the same file. Times are whole seconds, of regular files only if
// times is set.
func Describe(dir string, times bool) (map[string]string, error) {
	lines := make(map[string]string)
	names := make(map[[2]uint64][]string)
	inodes := make(map[string][2]uint64)
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel := strings.TrimPrefix(p, dir+"/")
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return fmt.Errorf("stat %s: %w", p, err)
		}
		line, err := describe(p, &st, times)
		if err != nil {
			return err
		}
		lines[rel] = line
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			id := [2]uint64{st.Dev, st.Ino}
			names[id] = append(names[id], rel)
			inodes[rel] = id
		}
		return nil
	})
	for rel, id := range inodes {
		if same := names[id]; len(same) > 1 {
			slices.Sort(same)
			lines[rel] += fmt.Sprintf(" same=%q", same)
		}
	}
	return lines, err
}

func describe(p string, st *unix.Stat_t, times bool) (string, error) {
	var b strings.Builder
	typ := st.Mode & unix.S_IFMT
	fmt.Fprintf(&b, "%06o", typ)
	if typ != unix.S_IFLNK {
		fmt.Fprintf(&b, " mode=%04o", st.Mode&^unix.S_IFMT)
	}
	fmt.Fprintf(&b, " owner=%d:%d", st.Uid, st.Gid)
	switch typ {
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " size=%d sum=%.8x", len(data), sha256.Sum256(data))
		if times {
			fmt.Fprintf(&b, " mtime=%d", st.Mtim.Sec)
		}
	case unix.S_IFLNK:
		link, err := os.Readlink(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " link=%q", link)
	case unix.S_IFCHR, unix.S_IFBLK:
		fmt.Fprintf(&b, " rdev=%d", st.Rdev)
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		return "", fmt.Errorf("list attributes of %s: %w", p, err)
	}
	for _, name := range slices.Sorted(slices.Values(strings.Split(string(buf[:n]), "\x00"))) {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		v := make([]byte, 1<<12)
		k, err := unix.Lgetxattr(p, name, v)
		if err != nil {
			return "", fmt.Errorf("get %s of %s: %w", name, p, err)
		}
		fmt.Fprintf(&b, " %s=%x", name, v[:k])
	}
	return b.String(), nil
}

// Diff lists where two descriptions disagree, sorted.
func Diff(want, got map[string]string) []string {
	var out []string
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[p]; !ok {
			out = append(out, fmt.Sprintf("missing %q: %s", p, want[p]))
		} else if g != want[p] {
			out = append(out, fmt.Sprintf("differs %q:\n\twant %s\n\tgot  %s", p, want[p], g))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[p]; !ok {
			out = append(out, fmt.Sprintf("extra %q: %s", p, got[p]))
		}
	}
	return out
}

// Options leave out what an ordinary user cannot make, or what a test cannot express.
type Options struct {
	// Owners, devices and capabilities need root.
	Unprivileged bool
	// NoXattrs leaves extended attributes out, NoLinks hard links.
	NoXattrs, NoLinks bool
	// Small leaves out files of more than a few bytes.
	Small bool
	// Text leaves out names that are not UTF-8.
	Text bool
}

var names = []string{
	"a", "b", "a-b", "a.b", "ab", "c d", "\x01x", "\xff\xfe", "é", "-n", "...", "lib", "etc", "new\nline",
	strings.Repeat("long", 60), "q'\"\\", "x", "y", "z",
}

// Make fills the empty directory dir with a random tree. The same generator
// state makes the same tree.
func Make(dir string, r *rand.Rand, o Options) error {
	g := &generator{r: r, o: o, root: dir}
	if err := g.fill(dir, 0); err != nil {
		return err
	}
	return g.times(dir)
}

type generator struct {
	r     *rand.Rand
	o     Options
	root  string
	files []string
}

func (g *generator) fill(dir string, depth int) error {
	for range g.r.IntN(7) {
		name := names[g.r.IntN(len(names))]
		if g.o.Text {
			name = strings.ToValidUTF8(name, "text")
		}
		p := filepath.Join(dir, name)
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		if err := g.one(p, depth); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) one(p string, depth int) error {
	kind := g.r.IntN(12)
	switch {
	case kind < 4 && depth < 4:
		if err := os.Mkdir(p, 0o755); err != nil {
			return err
		}
		if err := g.fill(p, depth+1); err != nil {
			return err
		}
		return g.meta(p, true)
	case kind == 4:
		return os.Symlink([]string{"a", "../b", "/lib", "../../../x", "nowhere", "etc/a"}[g.r.IntN(6)], p)
	case kind == 5 && len(g.files) > 0 && !g.o.NoLinks:
		return os.Link(g.files[g.r.IntN(len(g.files))], p)
	case kind == 6:
		if err := unix.Mkfifo(p, 0o644); err != nil {
			return err
		}
		return g.meta(p, false)
	case kind == 7 && !g.o.Unprivileged:
		if err := unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+g.r.IntN(2)*2)))); err != nil {
			return err
		}
		return g.meta(p, false)
	}
	return g.file(p)
}

func (g *generator) file(p string) error {
	sizes := []int{0, 3, 3, 3, 5000, 200_000}
	if g.o.Small {
		sizes = sizes[:4]
	}
	data := make([]byte, sizes[g.r.IntN(len(sizes))])
	for i := range data {
		data[i] = byte(g.r.IntN(2)) // two trees often hold the same small files
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		return err
	}
	g.files = append(g.files, p)
	return g.meta(p, false)
}

func (g *generator) meta(p string, dir bool) error {
	if !g.o.Unprivileged && g.r.IntN(4) == 0 {
		if err := os.Lchown(p, g.r.IntN(2)*1000, g.r.IntN(2)*3_000_000_000); err != nil {
			return err
		}
	}
	if err := g.xattrs(p, dir); err != nil {
		return err
	}
	if g.r.IntN(4) == 0 {
		modes := []uint32{0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o000, 0o700}
		return unix.Chmod(p, modes[g.r.IntN(len(modes))])
	}
	return nil
}

// Attribute values in the kernel's encodings: an ACL that lets user 1000 read,
// and the capability CAP_NET_BIND_SERVICE, permitted and effective, revision 2.
const (
	acl        = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

func (g *generator) xattrs(p string, dir bool) error {
	if g.o.NoXattrs {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err
	}
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	if g.r.IntN(8) == 0 && regular {
		if err := unix.Lsetxattr(p, "user.note", []byte{byte(g.r.IntN(2)), 0, '='}, 0); err != nil {
			return err
		}
	}
	if g.r.IntN(10) == 0 && (regular || dir) {
		if err := unix.Lsetxattr(p, "system.posix_acl_access", []byte(acl), 0); err != nil {
			return err
		}
	}
	if g.r.IntN(10) == 0 && regular && !g.o.Unprivileged {
		return unix.Lsetxattr(p, "security.capability", []byte(capability), 0)
	}
	return nil
}

// times gives every path a time in whole seconds, from few.
func (g *generator) times(dir string) error {
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	for _, p := range slices.Backward(all) {
		t := unix.NsecToTimespec(time.Unix(1_700_000_000+int64(g.r.IntN(3)), 0).UnixNano())
		if e := unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); e != nil && err == nil {
			err = e
		}
	}
	return err
}
