// Package systemd writes settings of systemd's units, so that systemd reads the very
// values (systemd.syntax(7), systemd.exec(5), systemd.service(5)). What systemd cannot take in any form
// is an error.
package systemd
