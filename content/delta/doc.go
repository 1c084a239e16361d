// Package delta has the format of deltas below the file: what it takes to make an
// image on a host that has another one, its source.
//
// # The format
//
// A delta is an artifact of type [ArtifactType], as github.com/containers/oci-delta
// defines it: a manifest with an empty config and, as subject, the manifest of the
// image that it makes. Its layers say by the annotation [annotationContent] what
// they are:
//
//	image-manifest         the manifest of the image
//	image-config           its config
//	image-layer            a layer that the sources lack. "io.github.containers.delta.to"
//	                       is its digest in the image. The blob is a delta of package
//	                       tardiff, or the layer itself
//	build.veneer.sources   the list of the files that are read, see [WriteFiles]
//
// What else is there, such as signatures, is for others. Annotations of the manifest
// name the image, the source's manifest and config, and the layers that the source has.
//
// A delta of a layer makes its tar. To give back the very blob of the image, whoever
// applies it must know how that was compressed. So Veneer adds annotations, which
// others ignore:
//
//	build.veneer.delta.sources      of the manifest: all sources, as JSON of [Source].
//	                                Of several, the annotations of oci-delta have the first
//	build.veneer.delta.generation   of a delta of a layer: what compresses it, as package
//	                                recompress names it. Absent where that is unknown
//	build.veneer.delta.size         of a delta of a layer: bytes of the tar
//
// In an archive, which is an OCI image layout in a tar, the index has the delta as its
// one entry. There [AnnotationName] is the image's name. It is not in the annotation
// by which containerd would give that name to what it imports, since the artifact is
// no image.
//
// # Sources
//
// The deltas of layers open files by their paths in the sources' root file systems. With
// several sources a path means the file of the first source that has a regular file there
// on a path without symbolic links.
//
// # Lifecycle
//
// [Read] reads and checks a delta's documents, which are stored like those of an image.
// [Delta.Encode] writes the manifest of a new one. Neither looks at the blobs of layers.
package delta
