// Package zstdopt writes zstd frames (RFC 8878) that are as small as this package can make
// them. It is for what is written once and sent over thin links: it takes a few times as
// long as the best level of github.com/klauspost/compress/zstd, whose decoder reads it.
//
// What it does otherwise is to choose the matches. writer.go collects blocks of 128 KiB,
// with a window of what came before. tree.go finds the matches of a place: all that are
// longer than the nearer ones, by a binary tree of the places that have the same hash. It does
// so for a block at once, since memory is slow: what the next places need is read ahead.
// parse.go chooses among them: it knows the cheapest way to write the block up to each of
// the next places, by prices.go, which learns what literals, lengths and offsets cost.
// split.go divides a block where its statistics change, and block.go writes the parts, with
// tables that table.go makes.
//
// This is the method of the higher levels of the zstd program ("btopt",
// lib/compress/zstd_opt.c), written anew.
package zstdopt
