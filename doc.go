// Package veneer builds container images as a base image plus one thin layer.
// The layer holds only what differs from the base. Images live in containerd,
// or in the same stores opened inside this process ([engine.Embedded]).
//
// # Verbs
//
//   - [Build], [Commit], [Delta] and [Squash] make images.
//   - [Diff] and [Compare] tell what would change and what it would cost.
//   - [Verify] and [SameRootfs] check images.
//   - [Pull], [Save] and [Load] move images. [Remove] removes names.
//
// # Words
//
// The base is the image built upon. A target is a set of files that the new
// image must show, with a source and a destination ([TargetSpec]). A change is
// one path that differs from the base. All changes together are the layer.
//
// # Lifecycle
//
// The caller opens an engine with [engine.Open], passes it to any number of
// verbs, and closes it. A verb never closes the engine. Each verb takes a
// request: the zero value of a field is its default, and requests are never
// written to, so one request can be used many times.
//
// Each verb runs under one lease and releases everything that it holds before
// it returns. After an error, names in the engine are as they were before, and
// nothing of the attempt is left. Readers and writers in requests, such as
// [TargetOptions].Stdin and [DeltaRequest].Archive, stay open: they are the
// caller's to close.
//
// The steps behind the verbs are in package build.
package veneer
