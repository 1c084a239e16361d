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
// Version 2 has one more, which only [Apply] knows, for files of up to 4 MiB:
//
//	5 dictionary  N bytes    write what this zstd frame makes with the open file before it
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
package tardiff
