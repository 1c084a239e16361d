// Package verify checks images. [Image] derives again all that was derived when
// an image was made (digests, diff IDs, chain IDs, files, labels) and reports
// each difference. [Same] compares the files of two images.
//
// # Words
//
//   - A [Finding] is one thing that is wrong, odd, or could not be checked.
//   - A [Check] is what a finding is about, and [Severity] how bad it is.
//   - To repair is to make a finding go away with what is stored already: set a
//     label, unpack a snapshot again, or remove a damaged blob.
//
// # Lifecycle
//
// Both functions hold the image under a lease of their own, release it before
// they return, and leave nothing open. What is wrong with an image is in the
// result. An error means that the work itself could not be done. Only [Image]
// with [Request].Repair changes anything.
package verify
