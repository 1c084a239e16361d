// Package registry pulls images from registries and pushes them there
// (OCI distribution-spec), by containerd's own client for registries.
//
// # Words
//
//   - host: a server that is asked for an image: the registry that the image's
//     name says, or one of its mirrors.
//   - mirror: a host that is asked before the registry, since hosts.toml says so.
//   - try: one run of a pull or a push. It is tried again where it failed for a
//     passing reason, such as a connection that broke.
//   - stall: a transfer of which almost nothing arrives for a minute.
//   - challenge, token: what a registry answers a request without a login with,
//     and what is sent instead of the password from then on.
//
// # Lifecycle
//
// [Pull] and [Push] do all under a lease of their own or the caller's, and end
// it. After a Pull that failed nothing new is in the store. Nothing here has to
// be closed.
//
// A transport goes around another one, each for one thing: who may get which
// credentials (guard), what registries answer otherwise than the specification
// has it (lenient), transfers that stall (patient).
package registry
