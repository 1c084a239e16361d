// Package veneer makes container images of a base and what differs from it, as
// one thin layer. It talks to containerd, or works on the same stores opened in
// this process ([engine.Embedded]).
//
// The verbs are [Build], [Commit], [Delta] and [Squash], which make images;
// [Diff] and [Compare], which tell what would change; [Verify] and [SameRootfs],
// which check; [Pull], [Save] and [Load], which move images. Each takes an
// engine, which its caller opens and closes, and a request whose zero values are
// the defaults. Requests are never written to.
//
// Whatever fails, the names in the engine are as before, and nothing of the
// attempt is left. The steps behind the verbs are in package build.
package veneer
