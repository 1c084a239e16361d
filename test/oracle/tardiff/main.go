// The tardiff program makes and applies deltas with github.com/containers/tar-diff, for tests of content/tardiff.
//
//	tardiff diff OLD.tar NEW.tar DELTA
//	tardiff patch DELTA DIRECTORY NEW.tar
package main

import (
	"errors"
	"fmt"
	"os"

	tardiff "github.com/containers/tar-diff/pkg/tar-diff"
	tarpatch "github.com/containers/tar-diff/pkg/tar-patch"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tardiff:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: tardiff diff OLD.tar NEW.tar DELTA | patch DELTA DIRECTORY NEW.tar")
	}
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	switch args[0] {
	case "diff":
		err = diff(args[1], args[2], out)
	case "patch":
		err = patch(args[1], args[2], out)
	default:
		err = fmt.Errorf("unknown command %q", args[0])
	}
	return errors.Join(err, out.Close())
}

func diff(oldTar, newTar string, out *os.File) error {
	o, err := os.Open(oldTar)
	if err != nil {
		return err
	}
	n, err := os.Open(newTar)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	return errors.Join(tardiff.Diff(o, n, out, nil), o.Close(), n.Close())
}

func patch(delta, dir string, out *os.File) error {
	d, err := os.Open(delta)
	if err != nil {
		return err
	}
	files := tarpatch.NewFilesystemDataSource(dir)
	return errors.Join(tarpatch.Apply(d, files, out), files.Close(), d.Close())
}
