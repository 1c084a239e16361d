// Package filecache remembers between builds what is known of files, so that files
// that did not change are not read again. A [Cache] is for the files of a source,
// and [Listings] are for the directories of a snapshot.
//
// The words:
//
//   - A file's state is its device, inode, size, and times of modification and
//     change. A Cache has facts about a state: the content's digest, the file of
//     the base with equal content (its twin), and whether it is plain, which means
//     without extended attributes. About a directory's state it has the names that the
//     directory holds.
//   - [Trust] says whether an equal state means equal content. That depends on the
//     file system, its device, and its mount.
//   - A file is settled before it is read: it is made sure that every later write
//     changes its times. See [Cache.Settle].
//
// Both are made empty (New, NewListings) or loaded from what an earlier build saved
// (Load, LoadListings). They are used and filled while trees are read, and saved if
// they have changed. There is nothing to close. The caller that stores them checks
// stored bytes for damage, and knows the source or snapshot that they belong to.
package filecache
