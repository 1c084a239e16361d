// Package content keeps images in an engine's stores by digest: it finds an
// image, makes the documents of a new one, stores them and gives them a name.
//
// # Words
//
//   - blob: bytes that are stored under their digest.
//   - document: a blob of JSON that names other blobs: an index, a manifest; or
//     the config of an image.
//   - descriptor: a blob's media type, digest and size, as documents name it.
//   - record: an image's name in the engine, and the descriptor that it means:
//     the record's target.
//   - label: what an engine knows of a blob beside its bytes. By labels its
//     garbage collector finds out what a document keeps.
//
// # Lifecycle
//
// [Resolve] finds an image by what a user typed and returns an [Image]: a value
// with everything but the layers' bytes. [Assemble] makes a new Image of one, in
// memory. [LayerWriter] and [Store] write the blobs of an image. Until then only
// the lease in the context keeps them (package lease). [Record] gives the image
// a name and comes last, so a name never means something incomplete. [RemoveIf]
// removes names, and the engine's garbage collector what no name refers to.
//
// What [ReadBlob] and [NewLayerWriter] return is closed by the caller. An Image
// is never written to, and needs no closing.
//
// Nothing of a stranger is trusted. Documents are read within bounds and checked
// against their digests, and what two readers could take for two different
// things is refused.
//
// # Packages
//
// Package content stands upon config (edits of a config), lease (what keeps
// blobs while a build runs) and cache (results that took long). Packages
// registry and archive stand upon content.
package content
