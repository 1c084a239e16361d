// Package tardiff makes and applies binary deltas of tar streams against the files
// of a tree, in version 1 of the format of github.com/containers/tar-diff (media
// type application/vnd.tar-diff).
//
// A delta begins with eight bytes of magic. A zstd stream of operations follows.
// Each is a byte, a number as an unsigned varint, and for some as many bytes as the
// number says:
//
//	0 data  N bytes    write them
//	1 open  N bytes    they name a file of the tree, whose position is now 0
//	2 copy  N          write the next N bytes of the open file
//	3 add   N bytes    add each to the open file's next byte, and write the sums
//	4 seek  N          the open file's position is now N
//
// So all headers of the new tar are in the delta, and of the tree only the contents
// of regular files are used.
//
// [Make] reads the new tar once, as it comes. It compares each file in it with the
// file of the tree that it is likely to be made from, and with a sample of all of
// the tree, and writes what is cheapest. [Apply] streams too. The memory of both is
// bounded, whatever the sizes of trees and files are: the bounds stand beside the
// code in space.go, seeds.go, make.go and apply.go. Neither writes a file.
//
// align.go has the method. It is bsdiff's: two files are laid side by side so that
// many bytes agree, and the differences of the bytes, most of them zero, compress
// well. bsdiff finds the places by a suffix array, which takes nine times the old
// file's size. Here a table of bounded size finds them: it has the hashes of a few
// bytes at regular distances.
//
// Measured on one machine of two processors, sizes in bytes, of the gzip layer and of
// the deltas of other programs (tar-diff 0.1.2, xdelta3 -9, bsdiff 4.3, zstd -19
// --patch-from with a window of 128 MiB, rdiff with gzip):
//
//	pair                               layer       ours     tar-diff   xdelta3   bsdiff    zstd      rdiff
//	npm tree, the files that changed   5426991     201153   486298     248179    -         136863    -
//	Go program of 30 MB, 40 commits    11279733    2261914  2560043    4105892   1881654   3113385   9152360
//	sqlite of 86 MB, 91 rows changed   -           1944     -          2769      -         -         -
//	model of 500 MB, 1 MB inserted     501000000   1001594  -          1001934   -         -         -
package tardiff
