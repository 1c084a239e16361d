// Package build makes one image of another, step by step. Each step takes what
// the step before it made, and returns a new value:
//
//	base, err := s.Base(ctx, "debian:12", "")                      // resolve
//	diff, err := s.Compare(ctx, Files(base, "base"), rules, "")    // compare
//	layer, err := s.Layer(ctx, diff, LayerOptions{…})              // layer
//	unpacked, err := s.Snapshot(ctx, diff.Base, layer)             // prepare, apply, commit
//	img, err := s.Assemble(ctx, Parts{…})                          // config and manifest
//	err = s.Record(ctx, img.Manifest, names, nil)                  // names, last
//
// An assembled image is a [content.Image] like any other. It can be the base of
// the next step without being looked up again.
//
// # Words
//
//   - A [Session] is what the steps of one run share: the engine, the lease and
//     the caches.
//   - A [Source] is a file tree that a comparison reads: an image, a container,
//     or a directory.
//   - [Rules] say what the new image must show: [Targets] change parts of the
//     base, [Exactly] replaces everything.
//   - A [Diff] is what the rules make different from the base. A [Layer] is a
//     Diff as a blob in the content store.
//
// # Lifecycle
//
// [Run] makes a session, calls a function with it, and then releases what the
// steps hold: trees, paused containers, snapshots, and last the lease. The
// function need not clean up, not even after an error.
//
// A [Diff] holds trees open, and may keep a container paused. [Session.Layer]
// and [Session.Measure] close it as soon as its bytes are read, and [Run] closes
// any that is left. A session must not be used after Run returned.
package build
