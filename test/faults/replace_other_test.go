//go:build !amd64

package faults_test

import (
	"fmt"
	"runtime"

	"github.com/veneer-build/veneer/test/harness"
)

// canReplace says whether a traced call can be kept from being made on this architecture.
func canReplace() error {
	return fmt.Errorf("replacing system calls on %s: %w", runtime.GOARCH, harness.ErrUnavailable)
}

func replace(int) error { return canReplace() }

func answer(int, verdict) error { return canReplace() }
