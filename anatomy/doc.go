// Package anatomy tells what an image is made of: what each of its layers adds,
// replaces and deletes, which files and directories are large, which stored bytes
// nobody sees, and what one image costs those who have another one.
//
// Values go in and come out: it is given the indexes of layers (package index) and
// knows no store, no engine, and nothing of how its results are shown.
//
// # Words
//
//   - file: one path that any layer of the image has or had, of whatever type; a
//     [File]. Directories are files that have files in them.
//   - mark: what one layer did to a file: a [Mark].
//   - tally: a number of files that are no directories, and the bytes of the contents
//     of regular ones. The names of one file (hard links) have its bytes once.
//   - view: which of the files one looks at: those of the image as it runs, those that
//     one layer stores, or the image as it was up to a layer; a [View].
//   - waste: bytes that a layer stores and the image does not show, or shows twice.
//
// # Lifecycle
//
// [New] makes an [Image], which never changes and holds no files open, so it may be
// used concurrently. [Image.Whole], [Image.Layer] and [Image.UpTo] make views of it,
// and from a view come [View.Fold] (a tree of bounded size), [View.Largest] and
// [View.Children]. [Image.Waste] and [Compare] list a bounded number of files and
// count all.
//
// # Memory
//
// A file takes about 120 bytes with its name and its entry, each mark after the first
// 16 and its entry, and a record of the indexes, which an image refers to, some 45. The
// view of a layer takes 8 bytes for each of its files, and 30 for each of its
// directories; another view 16 for each directory. Index.Budget bounds the records, and
// so all of this: a million files take 180 MB together, and some 370 MB at most while
// the layers are merged and a page is made of them (TestMillion of test/report).
package anatomy
