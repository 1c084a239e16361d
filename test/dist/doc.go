// Package dist tests what `make dist` makes: that it is the same twice, and that the package installs, upgrades and goes again in
// a Debian root file system.
package dist
