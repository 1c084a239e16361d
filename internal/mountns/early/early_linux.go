// Package early starts the program again in a mount namespace of its own before the
// packages that it is made of are initialised, which takes most of a start: see
// [mountns.Restart]. Whoever imports it wants that. Go initialises packages in the
// order of their paths once those that they import are (the Go specification,
// "Program initialization"). So this one comes early, if it imports next to nothing.
// With os or fmt it would wait for a hundred packages more.
package early

import (
	"slices"
	"syscall"

	"github.com/veneer-build/veneer/internal/mountns"
)

// usernsEnv marks the runs of the program in a user namespace: see package
// engine/run. They have work to do before they are started again.
const usernsEnv = "_VENEER_USER_NAMESPACE"

// Commands are those that may mount.
func Commands() []string {
	return []string{"build", "commit", "delta", "diff", "export", "import", "load", "squash", "unit", "verify", "watch"}
}

// A failure is left to main, which tries it again and tells it. So is what is not
// recognised here as one of the commands.
func init() {
	moved, _ := syscall.Getenv(usernsEnv)
	if moved == "" && syscall.Geteuid() == 0 && !mountns.Second() && mayMount(mountns.Args()) {
		_ = mountns.Restart()
	}
}

// mayMount reports whether any argument is such a command. If it is another one's
// argument, the program is started again for nothing, which does no harm: but for those
// that mount for everybody, of images with such a name.
func mayMount(args []string) bool {
	args = args[min(1, len(args)):]
	in := func(words ...string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return slices.Contains(words, arg) })
	}
	return in(Commands()...) && !in("mount", "unmount", "umount")
}
