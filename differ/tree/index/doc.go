// Package index knows what is in layers without their bytes, and what file tree
// they make.
//
//   - An [Index] has one [Record] for each entry of a layer's tar.
//   - [ScanLayer] makes it from the tar, [Builder] while a layer is written. It
//     never changes, so it is stored ([Index.Encode], [Decode]) under the digest
//     of its layer.
//   - [Merge] applies indexes from bottom to top, as containerd does, and gives a
//     [Merged] tree. Contents are opened by the functions in [MergeOptions].
//   - A [Budget] bounds what the layers of one image may make Veneer allocate.
//
// Files named merge_*.go are the applier: merge_resolve.go follows names,
// merge_apply.go applies entries, merge_upper.go and merge_combine.go have the
// rules of overlayfs.
//
// An Index and a Merged tree hold no files. A Builder is to be finished or closed.
package index
