package cli_test

import (
	"archive/tar"
	"strings"
	"testing"
)

// entries makes a tar archive of entries, with data in the regular files.
func entries(t *testing.T, list ...tar.Header) string {
	t.Helper()
	var text strings.Builder
	w := tar.NewWriter(&text)
	for _, h := range list {
		data := ""
		if h.Typeflag == tar.TypeReg {
			data = "data"
		}
		h.Size, h.Mode = int64(len(data)), 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// What people give to load that is no image's archive is recognised, and what
// they can do with it is said.
func TestLoadOfOtherThings(t *testing.T) {
	b := newBench(t).withBase()
	const dir, reg, chr, sym, link = tar.TypeDir, tar.TypeReg, tar.TypeChar, tar.TypeSymlink, tar.TypeLink
	rootfs := entries(t,
		tar.Header{Name: "./", Typeflag: dir}, tar.Header{Name: "./bin", Typeflag: sym, Linkname: "usr/bin"}, tar.Header{Name: "./dev/", Typeflag: dir},
		tar.Header{Name: "./dev/console", Typeflag: chr, Devmajor: 5, Devminor: 1}, tar.Header{Name: "./etc/passwd", Typeflag: reg}, tar.Header{Name: "./usr/bin/sh", Typeflag: reg})
	b.write("rootfs.tar", rootfs)
	b.write("rootfs.tar.gz", compressed(t, rootfs))
	b.write("late.tar", entries(t, tar.Header{Name: "etc/hosts", Typeflag: reg}, tar.Header{Name: "home/a", Typeflag: reg}, tar.Header{Name: "var/x", Typeflag: reg}))
	b.write("device.tar", entries(t, tar.Header{Name: "dev/null", Typeflag: chr, Devmajor: 1, Devminor: 3}))
	b.write("link.tar", entries(t, tar.Header{Name: "src/a", Typeflag: reg}, tar.Header{Name: "src/b", Typeflag: link, Linkname: "src/a"}))
	b.write("pipe.tar", entries(t, tar.Header{Name: "src/a", Typeflag: reg}, tar.Header{Name: "src/pipe", Typeflag: tar.TypeFifo}))
	b.write("files.tar", entries(t, tar.Header{Name: "src/a", Typeflag: reg}))
	b.write("text.gz", compressed(t, strings.Repeat("some text. ", 100)))
	b.write("nothing.gz", compressed(t, ""))
	b.write("empty", "")
	b.write("files/etc/passwd", "root")
	b.write("layout/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	const advice = "veneer import FILE NAME"
	for file, words := range map[string][]string{
		"rootfs.tar":    {"root file system", advice},
		"rootfs.tar.gz": {"root file system", advice},
		"late.tar":      {"root file system", advice},
		"device.tar":    {"root file system", advice},
		"link.tar":      {"it holds no image", advice},
		"pipe.tar":      {`"src/pipe"`, "no image was in the archive before it", advice},
		"files.tar":     {"it holds no image", advice},
		"text.gz":       {"gzip file of something that is no tar archive"},
		"nothing.gz":    {"gzip file of nothing"},
		"empty":         {"it is empty"},
		"files":         {"is a directory", "--copy files/:/"},
		"layout":        {"is a directory", "veneer load oci:layout"},
	} {
		b.leavesNothing(func() { b.fails(1, words, quiet("load", "-t", "new", file)...) })
	}
	// The advice is good.
	b.ok("build", "--from", "scratch", "--copy", "type=tar,src=rootfs.tar,dest=/", "--no-unpack", "-t", "rootfs")
}

// An archive that becomes a file of the image's root directory is noted, unless
// the target says that this is meant.
func TestNoteOfAnArchiveAsAFile(t *testing.T) {
	b := newBench(t)
	b.write("base.tar", entries(t, tar.Header{Name: "etc/hosts", Typeflag: tar.TypeReg}))
	b.write("dir.tar/file", "data")
	for target, noted := range map[string]bool{
		"base.tar:/":                     true,
		"base.tar:/opt/":                 false,
		"base.tar:/base.tar":             false,
		"type=dir,src=base.tar,dest=/":   false,
		"type=tar,src=base.tar,dest=/":   false,
		"dir.tar:/":                      false,
		"src=base.tar,dest=/,chown=1:1,": true,
	} {
		args := []string{"build", "--from", "scratch", "--copy", strings.TrimSuffix(target, ","), "--no-unpack", "-t", "new"}
		o := b.try(append(args, "--format", "json")...)
		res := decode[struct{ Notes []string }](t, o.out)
		said := strings.Contains(o.stderr, "note: the archive base.tar is in the image as it is, as /base.tar;") && strings.Contains(o.stderr, "--copy type=tar,src=base.tar,dest=/")
		if o.code != 0 || said != noted || (len(res.Notes) == 1) != noted {
			t.Errorf("%s: noted %v, want %v: %+v", target, said, noted, o)
		}
	}
}
