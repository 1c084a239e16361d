// Package lease keeps what a build writes into an engine from the engine's
// garbage collector while the build runs, and removes what a killed build has
// left.
//
// # Words
//
//   - lease: a record in the engine. What is written under a lease, and what is
//     added to it, stays as long as the lease does.
//   - resource: something that a lease keeps: a blob, a snapshot or an ingest.
//   - ingest: a blob that is being written and has no digest yet.
//   - leftover: a lease, a temporary snapshot or an ingest of a process that was
//     killed.
//
// # Lifecycle
//
// [New] makes a lease, and puts its name into the context that it returns.
// Everything that is written with that context is kept. The caller ends the
// lease with the [Release] that it got, once an image's name refers to what was
// made, or once the work has failed. Ending it works after the context was
// cancelled. Code further down calls New too: it gets the caller's lease and a
// Release that does nothing.
//
// Each lease has labels that say which process it belongs to. [Sweep] ends the
// leases of processes that do not live any more, and removes the temporary
// snapshots and ingests that no living process's lease keeps. It knows
// leases and ingests of Veneer by [Prefix], and snapshots by [LabelTemporary].
//
// A lease that [NotePaused] makes keeps nothing. It is a note that a container
// has been paused, which outlives the process if that is killed. A lease that
// [KeepMounted] makes is meant to outlive its process: it keeps what that has mounted.
package lease
