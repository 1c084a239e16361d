package harness

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// ErrUnavailable is wrapped by errors that mean "this machine lacks it": a tool that is not built or installed, root,
// a kernel feature. The message says what is missing and how to get it. Everything else is a failure.
var ErrUnavailable = errors.New("not available here")

// Required reports whether something unavailable is a failure and no reason to skip: VENEER_REQUIRE=1 or CI=true.
func Required() bool {
	return os.Getenv("VENEER_REQUIRE") == "1" || os.Getenv("CI") == "true"
}

// Check ends the test if err is not nil: a skip if it is ErrUnavailable and not [Required], a failure otherwise.
func Check(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) && !Required():
		t.Skipf("SKIP: %v", err)
	default:
		t.Fatal(err)
	}
}

// RequireRoot skips the test, or fails it where [Required], unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	Check(t, requireRoot())
}

func requireRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return unavailable("root is needed for daemons and mounts, and this is uid %d", os.Geteuid())
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnavailable)
}
