// Package faults breaks Veneer at each call that changes something, one call at a time, and looks at what is left.
//
// Against a daemon the program runs behind a gRPC proxy, which knows each call by its number and at one of them kills
// the program, cuts the connection, loses the answer, refuses the call, kills the daemon, or collects garbage. Embedded,
// it runs under ptrace(2) and is killed at each system call that changes the file system. The program is the one that
// is shipped: nothing in it knows of these tests.
//
// After each fault the old name must still be a whole image, or the new one; the same command must succeed at once and
// give the digests that it gives undisturbed; veneer prune must bring the store back to what it is then; and nothing
// must be left in use.
//
// The short form takes each call for kill -9 and lost answers in a build, and a sample of all else. VENEER_SOAK=1
// (make soak) takes everything, on each containerd and snapshotter; VENEER_FAULTS_ONLY=build,pull just those scenarios.
// Each test logs how many faults it tried.
package faults
