package main

import (
	"os"
	"runtime/debug"
)

// collectLater is how much garbage small builds may make before any is
// collected: most are over by then.
const collectLater = 16 << 20

// tuneGC makes the collector wait for longer where there is little to collect,
// and come earlier where there is much: a million files are some 200 MB, which
// may not become 400. It returns what is to be kept alive until the program
// ends: memory that counts for the collector's arithmetic alone, since it is
// never touched and so never there. Who sets GOGC or GOMEMLIMIT is obeyed.
func tuneGC() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	debug.SetGCPercent(50)
	return make([]byte, collectLater)
}
