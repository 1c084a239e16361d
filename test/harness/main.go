package harness

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/containerd/log"
)

// Main is the TestMain of packages that use the harness. It gives the test binary, and every command that it starts, a
// temporary directory of its own (TMPDIR), so that [LeakCheck] can hold everything in it against the tests, and no
// other process. The run fails if something is still there, or mounted there, when all tests are done. What containerd's
// libraries log is not shown, as the program does it: what matters comes back as an error.
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", tempPrefix())
	if err == nil {
		// Ordinary users must get through it, and make files in it, as in /tmp.
		err = errors.Join(os.Chmod(dir, os.ModeSticky|0o777), os.Setenv("TMPDIR", dir), log.SetLevel("fatal"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test harness:", err)
		return 1
	}
	code := m.Run()
	if err := sweepTemp(dir); err != nil {
		fmt.Fprintln(os.Stderr, "test harness: left by the tests:", err)
		return max(code, 1)
	}
	return code
}

// sweepTemp removes a temporary directory and says what was left in it.
func sweepTemp(dir string) error {
	var errs []error
	points, err := mountPoints(dir)
	errs = append(errs, err)
	for _, point := range points {
		errs = append(errs, errors.New("mount "+point))
	}
	unmounted := unmountBelow(dir)
	entries, err := os.ReadDir(dir)
	errs = append(errs, unmounted, err)
	for _, entry := range entries {
		errs = append(errs, errors.New(entry.Name()))
	}
	if unmounted == nil {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// privateTemp returns the directory that Main has made.
func privateTemp() (string, error) {
	dir := strings.TrimSuffix(os.TempDir(), "/")
	if !strings.Contains(dir, "/"+tempPrefix()) {
		return "", errors.New("TMPDIR is not this test's own: call harness.Main from TestMain")
	}
	return dir, nil
}
