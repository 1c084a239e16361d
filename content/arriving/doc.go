// Package arriving reads blobs while they are stored.
//
// Whoever stores blobs tells of the bytes that it receives ([Blobs.Came]) and of blobs that
// the store has taken ([Blobs.Stored]). A reader ([Blobs.Open]) gets a blob from its first
// bytes on. It never makes the transfer wait: some bytes wait for it, and if more come it
// reads the rest from the store, when that has the blob. A blob of a file is read there
// ([Blobs.Lies]). What uses such readers runs beside the transfer ([Run]).
//
// Layers that are made of deltas are unpacked from their tars ([Tars]), beside their making.
package arriving
