// Package e2e tests Veneer end to end: real containerd daemons of three generations, the embedded engine, each with
// overlayfs and native, a real registry, a Debian root file system, and readers of images that are not ours.
package e2e
