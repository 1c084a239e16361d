// Package systemd_test holds what is for systemd against a systemd that runs: this machine's own, booted in a container
// of systemd-nspawn with nothing of it kept.
package systemd_test
