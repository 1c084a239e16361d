package differential_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// author writes a random Dockerfile over a small random tree. What it writes depends on its seed alone.
type author struct {
	t    *testing.T
	r    *rand.Rand
	dir  string
	text strings.Builder
	// stages are how many there are, and rooted whether each has a shell.
	rooted []bool
	// there are files and directories of the context, without those that have a space in the name.
	there []string
	// made are destinations of this stage, and kept those of the stages before.
	made []string
	kept []string
}

// compose makes a task of a seed.
func compose(t *testing.T, seed uint64) task {
	t.Helper()
	a := &author{t: t, r: rand.New(rand.NewPCG(seed, 15)), dir: t.TempDir()}
	a.tree()
	k := task{context: a.dir, args: map[string]string{}, labels: map[string]string{}}
	if a.chance(3) {
		k.args["GIVEN"] = a.pick("g", "given/deep", "")
	}
	k.secrets = map[string]string{"token": "hush"}
	a.line("ARG BASE=plain:1")
	stages := 1 + a.r.IntN(3)
	for range stages {
		a.stage()
	}
	k.dockerfile = a.text.String()
	settle(t, a.dir)
	return k
}

func (a *author) chance(n int) bool { return a.r.IntN(n) == 0 }

func (a *author) pick(of ...string) string { return of[a.r.IntN(len(of))] }

func (a *author) line(format string, args ...any) { fmt.Fprintf(&a.text, format+"\n", args...) }

// tree fills the context: names that patterns tell apart, links of all kinds, odd modes, hard links and archives.
func (a *author) tree() {
	var files []string
	dirs := []string{"", "d", "d/sub", "lib", "d/sub/deep"}
	for _, dir := range dirs {
		must(a.t, os.MkdirAll(filepath.Join(a.dir, dir), 0o755))
		if dir != "" {
			a.there = append(a.there, dir)
		}
		for _, name := range []string{"a", "b.txt", "c.md", "x y"} {
			if a.chance(3) {
				continue
			}
			at := filepath.Join(dir, name)
			must(a.t, os.WriteFile(filepath.Join(a.dir, at), []byte(a.pick("", "one\n", "two\n", strings.Repeat("long\n", 2000))), 0o600))
			must(a.t, unix.Chmod(filepath.Join(a.dir, at), []uint32{0o644, 0o600, 0o755, 0o4755, 0o2711, 0o444}[a.r.IntN(6)]))
			files = append(files, at)
			if name != "x y" {
				a.there = append(a.there, at)
			}
		}
		for _, link := range []string{"l1", "l2"} {
			if a.chance(2) {
				must(a.t, os.Symlink(a.pick("a", "../a", "d", "sub", "/etc/issue", "nowhere", "..", "b.txt"), filepath.Join(a.dir, dir, link)))
			}
		}
	}
	if len(files) > 0 && a.chance(2) {
		must(a.t, os.Link(filepath.Join(a.dir, files[a.r.IntN(len(files))]), filepath.Join(a.dir, "d", "hard")))
	}
	a.odd(files)
	must(a.t, unix.Chmod(filepath.Join(a.dir, "lib"), []uint32{0o755, 0o700, 0o1777, 0o2750}[a.r.IntN(4)]))
	must(a.t, os.WriteFile(filepath.Join(a.dir, "t.tar"), a.archive(false), 0o644))
	must(a.t, os.WriteFile(filepath.Join(a.dir, "t.tgz"), a.archive(true), 0o644))
	if a.chance(3) {
		patterns := []string{"d/sub", "**/*.md", "!d/sub/a", "*", "!d", "lib/*", "!lib/b.txt", "**/a", "!**/deep/a", "d/*/b.txt", "/a", "!l?", "# c", "l1"}
		var chosen []string
		for range 1 + a.r.IntN(4) {
			chosen = append(chosen, a.pick(patterns...))
		}
		text := a.pick("", "\xef\xbb\xbf") + strings.Join(chosen, a.pick("\n", "\r\n")) + a.pick("\n", "")
		must(a.t, os.WriteFile(filepath.Join(a.dir, ".dockerignore"), []byte(text), 0o644))
	}
}

// archive is a tar with owners, modes, links of both kinds, and a file that may be in the image already.
func (a *author) archive(zip bool) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "in/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3},
		{Name: "in/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 3, Gid: 4, Size: 2},
		{Name: "in/s", Typeflag: tar.TypeSymlink, Linkname: "f"},
		{Name: "in/h", Typeflag: tar.TypeLink, Linkname: "in/f"},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/issue", Typeflag: tar.TypeReg, Mode: 0o600, Size: 2},
		{Name: "alone/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "alone/deep/", Typeflag: tar.TypeDir, Mode: 0o711},
		{Name: "alone/deep/f", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 2},
	} {
		h.ModTime = old.Add(time.Hour)
		must(a.t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("t\n"))
			must(a.t, err)
		}
	}
	must(a.t, w.Close())
	if !zip {
		return buf.Bytes()
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(buf.Bytes())
	must(a.t, err)
	must(a.t, z.Close())
	return out.Bytes()
}

func (a *author) stage() {
	n := len(a.rooted)
	from, rooted := a.pick("plain:1", "$BASE", "--platform=$BUILDPLATFORM plain:1", "rich:1"), true
	switch {
	case n > 0 && a.chance(3):
		i := a.r.IntN(n)
		from, rooted = fmt.Sprintf("s%d", i), a.rooted[i]
	case a.chance(6):
		from, rooted = "scratch", false
	}
	a.line("FROM %s AS s%d", from, n)
	if rooted {
		a.line("USER root")
	}
	a.rooted = append(a.rooted, rooted)
	for range 2 + a.r.IntN(6) {
		a.instruction(rooted)
	}
	if a.chance(5) {
		a.line("ONBUILD %s", a.pick("COPY d /onb", "RUN echo ran > /onb-ran || true", "WORKDIR /onb/w", "ENV ONB=b", "USER app"))
	}
	a.kept, a.made = append(a.kept, a.made...), nil
}

func (a *author) instruction(rooted bool) {
	switch n := a.r.IntN(24); {
	case n >= 20:
		a.odder(rooted)
	case n < 7:
		a.copy()
	case n < 9 && len(a.rooted) > 1:
		a.copyFrom()
	case n < 11:
		a.line("ADD %s%s %s", a.owner(), a.pick("t.tar", "t.tgz", "t.tar t.tgz", "--unpack=false t.tar"), a.dest()+"/")
	case n == 11:
		a.line("WORKDIR %s", a.pick("/w", "rel", "/opt/up/w", "../x", "/srv/new"))
	case n == 12:
		a.line("ENV E=%s", a.pick("/env", "env/deep", "${GIVEN:-none}", "\"q r\""))
	case n == 13:
		a.line("ARG GIVEN=%s", a.pick("default", "/abs", ""))
	case n == 14:
		a.line("COPY %s%s<<EOT %s\ntext $E ${GIVEN:+given}\nEOT", a.owner(), a.mode(), cmp.Or(a.dest(), "/text"))
	case n == 15:
		a.config()
	case rooted:
		a.run()
	}
}

// dest is a destination: a new one, one of before, or one through a link.
func (a *author) dest() string {
	d := a.pick("/app", "/app/deep", "/opt", "/srv/x", "/lib/app", "/opt/up/y", "/tmp", "rel/dir", "$E/e", "/home/app/z", "/var/run/q", "/")
	if len(a.made) > 0 && a.chance(3) {
		d = a.made[a.r.IntN(len(a.made))]
	}
	if !strings.Contains(d, "$") && strings.HasPrefix(d, "/") {
		a.made = append(a.made, d)
	}
	return strings.TrimSuffix(d, "/")
}

func (a *author) owner() string {
	if !a.chance(3) {
		return ""
	}
	if n := len(a.rooted); !a.rooted[n-1] {
		return "--chown=12:34 " // There are no names.
	}
	return "--chown=" + a.pick("app", "12:34", "app:staff", ":50", "0", "nobody:nogroup") + " "
}

func (a *author) mode() string {
	if !a.chance(3) {
		return ""
	}
	return "--chmod=" + a.pick("644", "0711", "u=rwX,go=rX", "4755", "go-w,a+x", "g+s") + " "
}

// source is there in most cases: a build that fails says little.
func (a *author) source() string {
	if !a.chance(4) {
		return a.pick(a.there...)
	}
	return a.pick("a", "b.txt", "d", "d/", "lib", ".", "*.md", "d/*", "l1", "l1/", "l?", "d/l*", "d/sub/a", "d/hard", "[ab]*", "d/sub/../a", "lib/b.txt", "none*", "*/a", "d/*/*")
}

func (a *author) copy() {
	verb, flags := a.pick("COPY", "COPY", "ADD"), a.mode()
	flags += a.owner()
	parents := verb == "COPY" && a.chance(6)
	if parents {
		flags += "--parents "
	}
	if !parents && a.chance(5) {
		flags += "--exclude=" + a.pick("*.md", "**/a", "sub", "d/sub", "**/deep/**", "!a", "l*") + " "
	}
	n := 1 + a.r.IntN(2)
	var sources []string
	for range n {
		src := a.source()
		if parents && a.chance(3) {
			src = a.pick("d/./sub", "./d/./sub/*", "d/**/a", "**/b.txt")
		}
		sources = append(sources, src)
	}
	dest := a.dest()
	if n > 1 || dest == "" || a.chance(2) {
		dest += "/"
	}
	if a.chance(8) {
		a.line("COPY %s[\"x y\", %q]", flags, dest+"/")
		return
	}
	a.line("%s %s%s %s", verb, flags, strings.Join(sources, " "), dest)
}

func (a *author) copyFrom() {
	src := a.pick("/etc/passwd", "/opt", "/opt/", "/home", "/opt/up", "/opt/up/", "/lib/", "/srv/", "/etc/*su*", "/opt/no*", "/app", "/app/")
	if len(a.kept) > 0 && a.chance(2) {
		src = a.kept[a.r.IntN(len(a.kept))]
	}
	if src == "/" || src == "/tmp" {
		src = "/etc/issue"
	}
	dest := a.dest()
	if a.chance(2) {
		dest += "/"
	}
	if dest == "" {
		dest = "/"
	}
	a.line("COPY --from=s%d %s%s%s %s", a.r.IntN(len(a.rooted)-1), a.owner(), a.mode(), src, dest)
}

func (a *author) config() {
	a.line("%s", a.pick("CMD [\"a\"]", "CMD a b", "ENTRYPOINT [\"e\"]", "EXPOSE 80 81/udp", "LABEL a=b c=\"d e\"", "VOLUME /v1 /v2",
		"STOPSIGNAL 9", "SHELL [\"/bin/sh\", \"-ec\"]", "HEALTHCHECK CMD true", "ONBUILD RUN true"))
}

func (a *author) run() {
	at := "/opt"
	if len(a.made) > 0 && a.chance(2) {
		at = a.made[a.r.IntN(len(a.made))]
	}
	mount := ""
	if a.chance(4) {
		mount = a.mount()
	}
	command := a.pick(
		"mkdir -p %s/r && echo run > %[1]s/r/f", "rm -rf %s", "chmod -R go-rwx %s 2>/dev/null; true", "chown -R 9:9 %s 2>/dev/null; true",
		"ln -s /etc %s/ln 2>/dev/null; true", "find %s -type f | sort | head -n 3 | xargs -r rm -f", "cp -a /opt %s/cp; true",
		"mv %s /moved && mkdir -p %[1]s; true", "rm -rf %s && ln -s /srv %[1]s; true", "touch -d @1500000000 %s/old 2>/dev/null; true",
		"rm -rf %s && echo f > %[1]s; true", "rm -rf %s && mkdir -p %[1]s && echo o > %[1]s/only; true", "mv /home /h && mv /h /home; true",
		"echo s > /suid; chmod 6755 /suid; chown 5 /suid; cp -p /suid %s/ 2>/dev/null; true", "mknod %s/dev c 1 3 2>/dev/null; mkfifo /opt/fifo; true",
		"dd if=/dev/zero of=/opt/hole bs=1 count=1 seek=100000 2>/dev/null; : > %s/zero 2>/dev/null; true", "echo >> /opt/noted; ln /opt/noted %s/n2 2>/dev/null; true",
		"ls -A / /dev /proc/self/fd /run > /dev/null; echo x > /run/left; rm -f /etc/resolv.conf 2>/dev/null; cat /etc/hosts > /dev/null; true",
		"f=$(find %s -type f | sort | head -n 1); [ -n \"$f\" ] && cp \"$f\" /x.$$ && rm \"$f\" && mv /x.$$ \"$f\"; true",
		"printf 'nl' > \"/opt/$(printf 'a\\nb')\"; mkdir -p '/opt/é x'; true", "mkdir -p /opt/o/p && touch -d @1400000000 /opt/o/p /opt/o; true",
		"cat /run/secrets/token /etc/token 2>/dev/null | wc -c > /secret-size; echo \"${#TOKEN}\" >> /secret-size", "ls -A /c* /mnt /rel /scratch /tmp /opt 2>/dev/null > /listed; true", "ln /opt/noted %s/hl 2>/dev/null; true", "echo $E > %s/e 2>/dev/null; true",
	)
	if strings.Contains(command, "%s") {
		command = strings.Replace(command, "%s", at, 1)
		command = strings.ReplaceAll(command, "%[1]s", at)
	}
	if at == "/" || at == "/tmp" || at == "/lib/app" && strings.Contains(command, "mv") {
		command = "echo nothing > /tmp/n"
	}
	a.line("RUN %s%s", mount, command)
}
