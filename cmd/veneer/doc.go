// Command veneer builds container images as a base image plus one thin layer
// that holds only what differs.
//
// Each subcommand has a file of its own. It turns flags into a request of package
// veneer, runs one verb, and prints the result as text or JSON. Results go to
// standard output, and everything else to standard error.
//
// # Lifecycle
//
// main sets up signals and hands over to run, which makes an app for one command
// line. app.withEngine opens the engine, runs the command, and closes the engine.
// Output files are opened before the work and put in place after it, so a name
// that cannot be written fails at once and a failed command changes no file.
package main
