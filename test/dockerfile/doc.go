// Package dockerfile builds Dockerfiles with each engine and looks at the images.
// Nothing but tests is in it. They run without the race detector: BuildKit's frontend
// (0.34.2) has a race of its own, two stages that set the same flag to the same value.
package dockerfile
