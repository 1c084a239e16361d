package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/veneer-build/veneer/test/harness"
)

// deltaPeer is a tool that makes a delta of two files. The lines are those of a shell, in which $1 is the old tar, $2 the
// new one, $3 the delta, $4 the new tar as it is made again, $5 a directory with the old tar's files, $6 the size of
// the old tar, and $7 and $8 are the layers that the tars are in, as they are stored.
type deltaPeer struct {
	name, program string
	make, apply   string
	limit         int64 // the tars that it can do, in bytes together; 0: any
}

// bsdiffLimit keeps bsdiff, which takes 17 times the bytes of memory, and hours, to what it can do in a minute.
const bsdiffLimit = 120 << 20

var deltaPeers = []deltaPeer{
	{
		name: "xdelta3 -9", program: "xdelta3",
		make:  `xdelta3 -e -9 -B "$(($6 > 67108864 ? $6 : 67108864))" -f -s "$1" "$2" "$3"`,
		apply: `xdelta3 -d -B "$(($6 > 67108864 ? $6 : 67108864))" -f -s "$1" "$3" "$4"`,
	},
	{name: "bsdiff", program: "bsdiff", make: `bsdiff "$1" "$2" "$3"`, apply: `bspatch "$1" "$4" "$3"`, limit: bsdiffLimit},
	{
		name: "rdiff, zstd -9", program: "rdiff",
		make:  `rdiff signature "$1" "$3.sig" && rdiff delta "$3.sig" "$2" "$3.raw" && zstd -q -9 -f "$3.raw" -o "$3" && rm "$3.raw" "$3.sig"`,
		apply: `zstd -q -d -f "$3" -o "$3.raw" && rdiff patch "$1" "$3.raw" "$4" && rm "$3.raw"`,
	},
	{
		name: "zstd -9 --patch-from", program: "zstd",
		make:  `zstd -q -9 --long=31 -f --patch-from="$1" "$2" -o "$3"`,
		apply: `zstd -q -d --long=31 -f --patch-from="$1" "$3" -o "$4"`,
	},
	// So oci-delta calls it.
	{name: "tar-diff v0.1.2", program: "tardiff", make: `tardiff diff "$7" "$8" "$3"`, apply: `tardiff patch "$3" "$5" "$4"`},
}

// peer measures a tool on the tars of a pair. The run has no name if the tool cannot do so large ones.
func (d *deltaWork) peer(ctx context.Context, tool deltaPeer) (run deltaRun, err error) {
	if err := findPeer(tool.program); err != nil {
		return run, err
	}
	var sizes [2]int64
	for i, name := range []string{"old.tar", "new.tar"} {
		info, err := os.Stat(d.in(name))
		if err != nil {
			return run, err
		}
		sizes[i] = info.Size()
	}
	if tool.limit > 0 && sizes[0]+sizes[1] > tool.limit {
		return run, nil
	}
	args := []string{d.in("old.tar"), d.in("new.tar"), d.in("peer.delta"), d.in("again.tar"), d.in("files"), fmt.Sprint(sizes[0]), d.in("old.layer"), d.in("new.layer")}
	if tool.program == "tardiff" {
		if _, err := quiet(ctx, shell(`mkdir -p "$5" && tar -xf "$1" -C "$5"`, args...)...); err != nil {
			return run, err
		}
		defer os.RemoveAll(d.in("files"))
	}
	defer os.Remove(d.in("peer.delta"))
	defer os.Remove(d.in("again.tar"))
	settle()
	if run.make, err = measure(ctx, command{args: shell(tool.make, args...)}); err != nil {
		return run, err
	}
	settle()
	if run.apply, err = measure(ctx, command{args: shell(tool.apply, args...)}); err != nil {
		return run, err
	}
	if _, err := quiet(ctx, "cmp", d.in("new.tar"), d.in("again.tar")); err != nil {
		return run, fmt.Errorf("it does not make the tar again: %w", err)
	}
	info, err := os.Stat(d.in("peer.delta"))
	if err != nil {
		return run, err
	}
	run.tool, run.bytes = tool.name, info.Size()
	return run, nil
}

// findPeer looks for a tool. Those that are built from modules are added to the path.
func findPeer(program string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	if program != "tardiff" {
		return unavailable("%s is not installed", program)
	}
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	bin := filepath.Join(root, ".cache", "tools", "oracles", "bin")
	if _, err := os.Stat(filepath.Join(bin, program)); errors.Is(err, os.ErrNotExist) {
		return unavailable("it is not built (run `make oracles`)")
	}
	return os.Setenv("PATH", os.Getenv("PATH")+":"+bin)
}
