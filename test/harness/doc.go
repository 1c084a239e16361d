// Package harness starts what the end-to-end tests of Veneer talk to, for real and privately: containerd daemons of
// three generations, a distribution registry, and a Debian root file system as base image.
//
// Nothing here touches the machine's own services. Each daemon has its own root, state and socket below one temporary
// directory (TMPDIR says where; it must be on a file system that overlayfs takes as upper, so not itself on overlayfs),
// and is stopped with all of its shims and mounts. The programs come from .cache/tools, where `make tools` builds
// them from the modules in tools/; containerd 1.6, runc and mmdebstrap are Debian's packages.
//
// What cannot be had on this machine is skipped with its reason, or, where VENEER_REQUIRE=1 or CI=true is set, fails
// the test: a run that is to prove something must not pass by skipping.
//
// Everything has a form without testing.T ([StartDaemon], [StartRegistry], [Debian], ...), so that a TestMain can
// share one daemon between tests, and a form that takes one, which cleans up by itself.
package harness
