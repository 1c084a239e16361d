// Package veneer builds container images as a base image plus one thin layer.
// The layer holds only what differs from the base. Images live in containerd,
// or in the same stores opened inside this process; see [Open].
//
// # Verbs
//
//   - [Build], [Commit], [Delta] and [Squash] make images.
//   - [Diff] and [Compare] tell what would change and what it would cost.
//   - [Dissect] tells what an image is made of, and what an update costs.
//   - [Verify] and [SameRootfs] check images.
//   - [Pull], [Save], [SaveDelta] and [Load] move images. [Remove] removes names.
//
// # Words
//
// The base is the image built upon. A target is a set of files that the new
// image must show, with a source and a destination ([TargetSpec]). A change is
// one path that differs from the base. All changes together are the layer.
//
// # Lifecycle
//
// The caller opens an engine with [Open], passes it to any number of
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
// # Errors
//
// What a caller may act upon is an [Error]. errors.Is tells its kind, one of the
// variables called Err…; errors.As tells what was attempted, on what, and where:
//
//	_, err := veneer.Build(ctx, e, req)
//	var failed *veneer.Error
//	switch {
//	case errors.Is(err, veneer.ErrNoImage):
//		_, err = veneer.Pull(ctx, e, req.Base, veneer.RegistryOptions{})
//	case errors.Is(err, veneer.ErrDeletes) && errors.As(err, &failed):
//		log.Printf("the build would delete %s", failed.Path)
//	}
//
// Where containerd has a class for an error, the functions of its package errdefs
// tell that class as well. Warnings of results are [Notice]s, which may have such
// an error for their cause. No message names a flag: what to do about an error in
// terms of the command line is added by the command line.
//
// The steps behind the verbs are in package build.
package veneer
