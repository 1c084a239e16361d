package buildkit_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// mirrored are the images that the tests pull, as they call them in their mirror, and
// what makes of a small system what the tests take them for.
var mirrored = map[string]func(*system){
	"library/busybox:latest":      (*system).busybox,
	"library/busybox:stable-musl": (*system).busybox,
	"library/alpine:latest":       (*system).alpine,
	// The tests that need what is in it are listed; without it none of a kind is run.
	"amd64/debian:bullseye-20230109-slim": (*system).alpine,
	"tonistiigi/hellofs:latest":           (*system).alpine,
}

// pushImages puts the images into a registry.
func pushImages(t *testing.T, host string) {
	t.Helper()
	for ref, dress := range mirrored {
		s := newSystem(t)
		dress(s)
		if err := s.push(host + "/" + ref); err != nil {
			t.Fatal(err)
		}
	}
}

// system is a root file system of busybox, as a tar.
type system struct {
	t       *testing.T
	data    bytes.Buffer
	w       *tar.Writer
	applets []string
	cmd     string
}

// made is when the files are from: the same images are made each time.
var made = time.Unix(1_700_000_000, 0)

func newSystem(t *testing.T) *system {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	list, err := exec.CommandContext(t.Context(), program, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, applets: strings.Fields(string(list))}
	s.w = tar.NewWriter(&s.data)
	for _, dir := range []string{"bin", "dev", "etc", "home", "lib", "proc", "root", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/sbin", "var", "var/spool", "var/spool/mail", "var/www"} {
		mode := int64(0o755)
		switch dir {
		case "root":
			mode = 0o700
		case "tmp":
			mode = 0o1777
		}
		s.add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}, nil)
	}
	s.add(tar.Header{Name: "bin/busybox", Mode: 0o755}, binary)
	s.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\n"+
		"www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
	s.text("etc/group", "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nwheel:x:10:root\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n")
	s.text("etc/shadow", "root:*:::::::\n")
	s.add(tar.Header{Name: "bin/addgroup", Mode: 0o755}, []byte(addGroup))
	s.add(tar.Header{Name: "bin/adduser", Mode: 0o755}, []byte(addUser))
	return s
}

// Debian's busybox has no programs that add users. These know what the tests ask for.
const (
	addGroup = `#!/bin/sh
gid=1000
while [ $# -gt 1 ]; do
  case $1 in
  -g) gid=$2; shift ;;
  esac
  shift
done
echo "$1:x:$gid:" >>/etc/group
`
	addUser = `#!/bin/sh
uid=1000 group=
while [ $# -gt 1 ]; do
  case $1 in
  -u) uid=$2; shift ;;
  -G) group=$2; shift ;;
  -h | -s | -g) shift ;;
  esac
  shift
done
while grep -q ":x:$uid:" /etc/passwd; do
  uid=$((uid + 1))
done
if [ -z "$group" ]; then
  group=$1
  echo "$1:x:$uid:" >>/etc/group
fi
gid=$(sed -n "s/^$group:[^:]*:\([0-9]*\):.*/\1/p" /etc/group)
echo "$1:x:$uid:$gid::/home/$1:/bin/sh" >>/etc/passwd
mkdir -p "/home/$1"
chown "$uid:$gid" "/home/$1"
`
)

func (s *system) add(h tar.Header, data []byte) {
	h.ModTime, h.Size = made, int64(len(data))
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	// Writing to memory does not fail, and the names are short.
	if err := s.w.WriteHeader(&h); err != nil {
		panic(err)
	}
	if _, err := s.w.Write(data); err != nil {
		panic(err)
	}
}

func (s *system) text(name, text string) { s.add(tar.Header{Name: name, Mode: 0o644}, []byte(text)) }

// busybox has all applets as hard links in /bin.
func (s *system) busybox() {
	for _, a := range s.applets {
		if a != "busybox" && a != "adduser" && a != "addgroup" {
			s.add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + a, Linkname: "bin/busybox", Mode: 0o755}, nil)
		}
	}
	s.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "../../bin/env", Mode: 0o777}, nil)
	s.cmd = "sh"
}

// alpine has them as symbolic links, and says its release.
func (s *system) alpine() {
	for _, a := range s.applets {
		if a != "busybox" && a != "adduser" && a != "addgroup" {
			s.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "/bin/busybox", Mode: 0o777}, nil)
		}
	}
	s.text("etc/alpine-release", "3.18.0\n")
	s.text("etc/os-release", "ID=alpine\nVERSION_ID=3.18.0\n")
	s.program("git")
	s.add(tar.Header{Name: "bin/apk", Mode: 0o755}, []byte(apk))
	s.cmd = "/bin/sh"
}

// apk installs the one package that a test of ADD asks for: it is there already.
const apk = `#!/bin/sh
[ "$*" = "add git" ]
`

// program adds a program of this host with the libraries that it is linked with.
func (s *system) program(name string) {
	at, err := exec.LookPath(name)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := exec.CommandContext(s.t.Context(), "ldd", at).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range append(library.FindAllString(string(out), -1), at) {
		data, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		s.add(tar.Header{Name: file[1:], Mode: 0o755}, data)
	}
}

// library is the path of a library in the output of ldd.
var library = regexp.MustCompile(`/\S+\.so\S*`)

func (s *system) push(ref string) error {
	if err := s.w.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(s.data.Bytes())), nil
	}, tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "ADD rootfs.tar /"}})
	if err != nil {
		return err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", "amd64", v1.Time{Time: made}
	c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	c.Config.Cmd = []string{s.cmd}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		return err
	}
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(to, img); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

// serveMirror starts a registry on the directory that the tests take for their
// mirror, and fills it.
func serveMirror(t *testing.T, registry, dir string) {
	t.Helper()
	config := fmt.Sprintf("version: 0.1\nloglevel: debug\nstorage:\n    filesystem:\n        rootdirectory: %s\nhttp:\n    addr: 127.0.0.1:0\n", filepath.Join(dir, "data"))
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), registry, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // It was killed.
	}()
	var log []byte
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		log = append(log, buf[:n]...)
		if m := listening.FindSubmatch(log); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }() // Until it is killed.
			pushImages(t, string(m[1]))
			return
		}
		if err != nil {
			t.Fatalf("the registry does not listen: %v\n%s", err, log)
		}
	}
}
