// Package archive writes images to archives and reads them back.
//
// # Words
//
//   - archive: an OCI image layout in a tar file (OCI image-spec
//     image-layout.md), which docker load reads as well, or what docker save
//     writes.
//   - layout: the same files in a directory.
//   - delta: an archive that leaves out the layers which its reader has. It names
//     the image that the reader needs, the base.
//   - name: what an image in an archive is called. It may have several, or none.
//
// # Lifecycle
//
// [Import] reads an archive from a stream to its end, stores its blobs under a
// lease, makes sure that each image is whole, unpacks it, and records its names
// last. After an error nothing of the archive stays. [Stage] does the same
// without names: what it stored stays for as long as the caller's lease.
//
// [Export] and [ExportLayout] write images that the store has, the same bytes
// each time. Callers close the readers and writers that they pass.
package archive
