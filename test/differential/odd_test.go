package differential_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// odd adds to the context what few have: names that shells and patterns trip over, attributes, holes, and a directory
// with nothing in it.
func (a *author) odd(files []string) {
	if !a.chance(2) {
		return
	}
	for _, name := range []string{"new\nline", "é", "[ab]", "q'\"", "back\\slash", "-n", "$E", "#c"} {
		if a.chance(3) {
			must(a.t, os.WriteFile(filepath.Join(a.dir, "lib", name), []byte(name), 0o644))
		}
	}
	must(a.t, os.Mkdir(filepath.Join(a.dir, "empty"), 0o755))
	f, err := os.Create(filepath.Join(a.dir, "holes"))
	must(a.t, err)
	_, err = f.WriteAt([]byte("end\n"), 1<<20)
	must(a.t, err)
	must(a.t, f.Close())
	a.there = append(a.there, "empty", "holes")
	for _, name := range files {
		at := filepath.Join(a.dir, name)
		if a.chance(6) {
			must(a.t, unix.Setxattr(at, "user.note", []byte("note"), 0))
		}
		if a.chance(6) {
			// VFS_CAP_REVISION_2 with cap_net_raw (capabilities(7)).
			must(a.t, unix.Setxattr(at, "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
		}
	}
}

// odder is an instruction that few Dockerfiles have.
func (a *author) odder(rooted bool) {
	n := len(a.rooted)
	switch i := a.r.IntN(9); {
	case i == 0:
		// To a directory that nothing else is in: what is there already is where Veneer's are others.
		a.line("COPY --link %s%s /linked%d/", a.pick("", "--chown=12:34 ", "--chmod=0750 "), a.source(), a.text.Len())
	case i == 1:
		a.line("COPY --from=%s %s %s", a.pick("rich:1", "plain:1"), a.pick("/data", "/etc/issue", "/opt/up/", "/home/app", "/usr/src"), a.dest()+"/")
	case i == 2:
		a.line("COPY <<one <<\"two\" <<-three /docs%d/\n$E\none\n$E\\n\ntwo\n\t\tthird\nthree", n)
	case i == 3:
		a.line("VOLUME %s", a.pick("/opt", "/srv/x", "/vol"))
	case !rooted:
		a.line("LABEL n=%d", n)
	case i == 4:
		a.line("RUN <<A cat > /one%d && cat <<-B > /two%[1]d\n$E\nA\n\t\ttabs\nB", n)
	case i == 5:
		a.line("RUN <<EOT\n%secho \"$E\" > /hd%d\necho more >> /hd%[2]d\nEOT", a.pick("", "#!/bin/sh -e\n", "set -e\n"), n)
	case i == 6:
		a.line("USER %s\nRUN id > /tmp/id%d; echo \"$HOME\" >> /tmp/id%[2]d\nWORKDIR %s\nUSER 0", a.pick("app", "app:staff", "5:6", "nobody"), n, a.pick("mine", "/mine/deep", "/home/app/w"))
	case i == 7:
		a.line("RUN echo late:x:%d:77::/late:/bin/sh >> /etc/passwd\nCOPY --chown=late %s /late%[1]d/", 1500+n, a.source())
	default:
		a.line("SHELL [\"/bin/sh\", %s]\nRUN echo \"$0 $-\" > /shell%d", a.pick(`"-c"`, `"-ec"`, `"-xc"`), n)
	}
}

// mount is a RUN's, or several.
func (a *author) mount() string {
	var all []string
	for range 1 + a.r.IntN(2) {
		from := fmt.Sprintf("s%d", a.r.IntN(len(a.rooted)))
		if from == fmt.Sprintf("s%d", len(a.rooted)-1) {
			from = "rich:1"
		}
		all = append(all, "--mount="+a.pick(
			"type=bind,target=/ctx", "type=tmpfs,target=/scratch", "type=bind,source=d,target=/mnt/d", "type=bind,from="+from+",target=/other",
			"type=cache,target=/var/cache/x", "type=tmpfs,target=/tmp,size=1m", "type=tmpfs,target=/opt/sub/deep", "source=d,target=rel/mnt",
			"type=bind,from="+from+",source=/etc,target=/etc/other,rw", "type=cache,target=/opt/cache,sharing=locked,mode=0711,uid=5",
			"type=cache,target=/c${GIVEN:-x},from="+from+",source=/etc,id=of-etc", "type=secret,id=token", "type=secret,id=token,target=/etc/token,mode=0444",
			"type=secret,id=token,env=TOKEN", "type=secret,id=absent", "type=bind,source=t.tar,target=/opt/t.tar", "type=bind,source=lib,target=/lib/mounted",
			"type=tmpfs,target=/run", "type=bind,target=rel/ctx", "type=cache,target=/root/.cache,id=$E",
		))
	}
	return strings.Join(all, " ") + " "
}
