// Package filecache remembers between builds what files are, so that what did not
// change is not read again: a [Cache] of the digests of a source's files, and
// [Listings] of the directories of a snapshot.
//
// The words:
//
//   - A file's state is device, inode, size, and times of modification and
//     change. A Cache has facts under such states: the content's digest, the
//     file of the base that is equal (its twin), and that the file is plain,
//     which means without extended attributes.
//   - [Trust] says whether a state that is seen again means the same content. It
//     depends on the file system, its device, and how it is mounted.
//   - A file is settled before it is read, so that later writes change its times:
//     see [Cache.Settle].
//
// Both are made empty (New, NewListings) or loaded from what an earlier build
// saved (Load, LoadListings). They are filled and asked while trees are read,
// then saved if they have changed. Nothing is to be closed. Whoever stores them
// finds out whether stored bytes were damaged, and which source or snapshot they
// belong to.
package filecache
