// Package buildkitapi is a server that speaks BuildKit's API: its Control service,
// which clients build with, and its LLBBridge, by which frontends ask for steps. It
// does what they ask for with Veneer's own solver.
//
// It stands beside cmd: it uses the verbs of the root package and the solver of
// build/dockerfile, and nothing uses it but what starts it. So far that is
// test/buildkit alone, which runs BuildKit's own tests of Dockerfiles against it.
//
// What a request asks for that Veneer does not do is an error that names it, and not
// left out: attestations, exports of the cache, policies of sources. There is no history
// of builds: one is over when it ends.
package buildkitapi
