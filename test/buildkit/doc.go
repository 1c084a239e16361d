// Package buildkit runs BuildKit's own tests of Dockerfiles against package
// buildkitapi.
//
// The tests are those of the BuildKit in go.mod. They are copied from the module cache
// into .cache, with BuildKit's go.mod, and built there together with
// testdata/worker_test.go, which has them start the program in server. None of their
// code is in this repository.
//
// A case that does not pass is in listed.txt, with the reason. The reason is a
// decision: something that Veneer does not do, or does in another way on purpose. A
// case that is listed and passes fails the test, so the list can only become shorter.
//
// The images that the tests pull are made of Debian's busybox, and lie in a registry
// that the tests start.
//
// Without VENEER_SOAK=1 one case in [sampled] is run, chosen by its name.
package buildkit
