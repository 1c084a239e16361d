// Package target turns what a user asked for into what can be compared: --copy,
// --sync and --delete, with files, archives, images and containers as sources.
//
// A [Spec] is one request, as typed. [Expand] puts the platform's name into its
// source. [Opener.Open] opens the source, reads its ignore file, and looks up
// owners in the image. The result is a [differ.Target] for
// [differ.Changes.Apply].
//
// The caller of [Opener.Open] closes the target's Source, which is nil for a
// deletion. A Spec holds nothing open.
package target
