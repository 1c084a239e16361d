package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/test/harness"
)

// deltaPairs are pairs of images, and how they come into the maker's engine.
var deltaPairs = []struct {
	name   string
	images func(context.Context, *deltaWork) (*deltaPair, error)
}{
	{"npm tree", npmPair},
	{"Debian, security updates", securityPair},
	{"Debian, thin layer", func(ctx context.Context, d *deltaWork) (*deltaPair, error) { return debianPair(ctx, d, true) }},
	{"Debian, whole layer", func(ctx context.Context, d *deltaWork) (*deltaPair, error) { return debianPair(ctx, d, false) }},
	{"Go program", goPair},
	{"sqlite", sqlitePair},
	{"model", modelPair},
	{"jar", jarPair},
}

// The sizes of databases and models, in bytes for each file of BENCH_FILES: 350 and 500 MB for 70,000.
const (
	sqlitePerFile = 5000
	modelPerFile  = 7000
)

// npmFewer is the number of files up to which the npm tree is one of a few packages.
const npmFewer = 40_000

// npmPackages are the dependencies of an application and of its next release. The first ones are those of a small one.
var npmPackages = [][2]string{
	{"typescript@5.4.4", "typescript@5.4.5"},
	{"date-fns@2.29.2", "date-fns@2.29.3"},
	{"lodash@4.17.20", "lodash@4.17.21"},
	{"@mui/material@5.15.14", "@mui/material@5.15.15"},
	{"@mui/icons-material@5.15.14", "@mui/icons-material@5.15.15"},
	{"react-scripts@5.0.0", "react-scripts@5.0.1"},
	{"react@18.2.0", "react@18.2.0"},
	{"react-dom@18.2.0", "react-dom@18.2.0"},
}

// npmSmall is how many of them a small application has.
const npmSmall = 3

// npmTrees installs both releases in directories, which are kept for who asks again.
func (d *deltaWork) npmTrees(ctx context.Context) (dirs [2]string, about string, err error) {
	packages := npmPackages
	if d.files < npmFewer {
		packages = packages[:npmSmall]
	}
	dirs = [2]string{d.path("npm1"), d.path("npm2")}
	for i, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		args := []string{"npm", "--prefix", dir, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"}
		for _, p := range packages {
			args = append(args, p[i])
		}
		if err := d.need(ctx, "npm", args...); err != nil {
			return dirs, "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	files, err := listFiles(dirs[1])
	if err != nil {
		return dirs, "", err
	}
	return dirs, fmt.Sprintf("%d files, %.0f MB; patch releases of %d packages", len(files), mb(total(files)), len(packages)), nil
}

// need runs a program that a machine may lack, or that may lack a network.
func (d *deltaWork) need(ctx context.Context, program string, args ...string) error {
	if _, err := exec.LookPath(program); err != nil {
		return unavailable("%s is not installed", program)
	}
	if _, err := quiet(ctx, args...); err != nil {
		return unavailable("%v", err)
	}
	return nil
}

func npmPair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	dirs, about, err := d.npmTrees(ctx)
	if err != nil {
		return nil, err
	}
	return d.ofDirs(ctx, dirs, about)
}

// debianPair has Debian, and the same with updates and two packages more: as one layer upon it, or bootstrapped anew.
func debianPair(ctx context.Context, d *deltaWork, thin bool) (*deltaPair, error) {
	update, err := harness.DebianUpdate(ctx)
	if err != nil {
		return nil, err
	}
	if thin {
		return d.debianThin(ctx, update, "security updates and two packages more, as one layer upon it")
	}
	return &deltaPair{about: "security updates and two packages more, bootstrapped anew"}, d.debianImages(ctx, update)
}

// securityPair has Debian, and the same with updates alone: of what packages bring more, there is little in the old one.
func securityPair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	update, err := harness.DebianSecurity(ctx)
	if err != nil {
		return nil, err
	}
	return d.debianThin(ctx, update, "security updates, as one layer upon it")
}

func (d *deltaWork) debianImages(ctx context.Context, update string) error {
	return d.maker(ctx, []string{"load", "-t", deltaOld, d.debian}, []string{"load", "-t", deltaNew, update})
}

func (d *deltaWork) debianThin(ctx context.Context, update, about string) (*deltaPair, error) {
	if err := d.debianImages(ctx, update); err != nil {
		return nil, err
	}
	return &deltaPair{about: about}, d.maker(ctx, []string{"delta", deltaOld, deltaNew, "-t", deltaNew})
}

// The Go program and its releases.
const (
	deltaModule  = "github.com/containerd/containerd/v2"
	deltaProgram = deltaModule + "/cmd/containerd"
)

var deltaReleases = []string{"v2.4.1", "v2.4.2"}

// goPair has a Go program without its symbols, and its next patch release with the dependencies of that.
func goPair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	for i, release := range deltaReleases {
		mod, dest := d.in("mod"+release), d.in(fmt.Sprint(i+1))
		line := `mkdir -p "$1" "$2" && cd "$1" && export GOFLAGS=-mod=mod CGO_ENABLED=0 && go mod init bench.invalid/delta && go get "$3" &&
			go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$2/" "$4"`
		if err := d.need(ctx, "go", shell(line, mod, dest, deltaProgram+"@"+release, deltaProgram)...); err != nil {
			return nil, err
		}
	}
	return d.ofDirs(ctx, d.dirs(), fmt.Sprintf("containerd %s and %s, stripped", deltaReleases[0], deltaReleases[1]))
}

// sqlitePages is how many rows of the database are changed, each in a page of its own.
const sqlitePages = 92

func sqlitePair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	const row = 560 // bytes, about
	rows := max(10*sqlitePages, d.files*sqlitePerFile/row)
	line := `mkdir -p "$1" "$2" && sqlite3 "$1/data.db" "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body BLOB);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<$3)
		INSERT INTO t SELECT i, 'user ' || hex(randomblob(20)), randomblob(400+i%200) FROM n;" && cp "$1/data.db" "$2/data.db" &&
		sqlite3 "$2/data.db" "UPDATE t SET name='changed ' || substr(name, 9) WHERE id % $4 = 0"`
	if err := d.need(ctx, "sqlite3", shell(line, d.in("1"), d.in("2"), fmt.Sprint(rows), fmt.Sprint(rows/sqlitePages))...); err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(d.in("2"), "data.db"))
	if err != nil {
		return nil, err
	}
	return d.ofDirs(ctx, d.dirs(), fmt.Sprintf("%.0f MB, %d pages changed", mb(info.Size()), sqlitePages))
}

// modelPair has bytes that do not compress, with 1 MB of other ones inserted.
func modelPair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	size := int64(d.files) * modelPerFile
	for i, dir := range []string{"1", "2"} {
		if err := writeModel(d.in(dir), size, i == 1); err != nil {
			return nil, err
		}
	}
	return d.ofDirs(ctx, d.dirs(), fmt.Sprintf("%.0f MB of random bytes, 1 MB inserted", mb(size)))
}

func writeModel(dir string, size int64, inserted bool) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(dir, "model.bin"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	body, more := rand.NewChaCha8([32]byte{1}), rand.NewChaCha8([32]byte{2})
	parts := []io.Reader{io.LimitReader(body, size*2/5), io.LimitReader(body, size-size*2/5)}
	if inserted {
		parts = slices.Insert(parts, 1, io.LimitReader(more, 1e6))
	}
	_, err = io.Copy(out, io.MultiReader(parts...))
	return err
}

// deltaJar is an npm package that holds a jar.
const deltaJar = "google-closure-compiler-java@20260921.0.0"

func jarPair(ctx context.Context, d *deltaWork) (*deltaPair, error) {
	args := []string{"npm", "--prefix", d.in("jar"), "install", "--ignore-scripts", "--no-audit", "--no-fund", deltaJar}
	if err := d.need(ctx, "npm", args...); err != nil {
		return nil, err
	}
	jar := filepath.Join(d.in("jar"), "node_modules", "google-closure-compiler-java", "compiler.jar")
	data, err := os.ReadFile(jar)
	if err != nil {
		return nil, err
	}
	changed, class, err := changeJar(data)
	if err != nil {
		return nil, err
	}
	for i, content := range [][]byte{data, changed} {
		dir := d.in(fmt.Sprint(i + 1))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "app.jar"), content, 0o644)); err != nil {
			return nil, err
		}
	}
	return d.ofDirs(ctx, d.dirs(), fmt.Sprintf("%.1f MB, class %s changed", mb(int64(len(data))), class))
}

// changeJar changes four bytes in the middle of the class that is larger than nine of ten.
func changeJar(jar []byte) (changed []byte, class string, err error) {
	r, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return nil, "", err
	}
	classes := slices.DeleteFunc(slices.Clone(r.File), func(f *zip.File) bool { return !strings.HasSuffix(f.Name, ".class") })
	if len(classes) == 0 {
		return nil, "", errors.New("the jar has no class")
	}
	slices.SortStableFunc(classes, func(a, b *zip.File) int { return cmp.Compare(a.UncompressedSize64, b.UncompressedSize64) })
	picked := classes[len(classes)*9/10]
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range r.File {
		if f.FileInfo().IsDir() { // It has no content, and a writer takes none.
			continue
		}
		if f != picked {
			err = z.Copy(f)
		} else {
			err = copyChanged(z, f)
		}
		if err != nil {
			return nil, "", err
		}
	}
	err = z.Close()
	return out.Bytes(), filepath.Base(picked.Name), err
}

func copyChanged(z *zip.Writer, f *zip.File) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	copy(data[len(data)/2:], "new!")
	w, err := z.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: f.Modified})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
