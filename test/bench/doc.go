// Command bench measures Veneer against the tools that do the same work, on real trees and in turn, and against what
// the machine itself takes for the reads, hashes and writes that cannot be avoided. `make bench` runs it; it prints
// tables and writes docs/benchmarks.md with its plots.
//
// It needs root, a checkout with its tools built, and some 20 GB of disk. A tool that this machine lacks is skipped with a line.
// It is set by the environment:
//
//	BENCH_V1, BENCH_V2  two states of a directory; default: the Go tree and modules of the module cache, and a
//	                    second state made of it
//	BENCH_ROUNDS        how often each tool runs (3)
//	BENCH_FILES         files of the default tree (70000)
//	BENCH_TOOLS         tools to run, separated by commas (all): veneer,buildkit,buildah,umoci,crane,commit
//	BENCH_PARTS         parts to run (all): rounds,cold,prepare,base,changes,fleet,deltas,dockerfile,verbs;
//	                    with deltas, dockerfile or verbs alone its section of benchmarks.md is written, and the others stay.
//	                    deltas installs npm packages, builds a Go program and makes a database: what cannot be had is left out
//	BENCH_PAIRS         pairs of deltas to measure, each by a part of its name without spaces (all)
//	BENCH_PROGRAM       the veneer to measure (bin/veneer)
//	BENCH_MILLION=1     also build from a tree of a million files, which takes eight million inodes
//	BENCH_DIR           where the trees and daemons go ($TMPDIR); on a file system that overlayfs takes. Not ext4 without a
//	                    journal, if it can be helped: for some minutes that does not use removed inodes again, and looks at
//	                    each of them for every new file, so that runs get slower by a factor of three. Nor on a loop device: of files
//	                    there Veneer remembers nothing, since another image may be in it tomorrow, and reads all of them each time
//	                    (for verbs alone it is as good: there Veneer remembers nothing anyway, and runs remove many inodes)
//	BENCH_OUT           where benchmarks.md goes (docs/)
package main
