package faults_test

import (
	"os"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// program is the compiled veneer.
var program string // set once, before any test runs

func TestMain(m *testing.M) { os.Exit(harness.MainWithProgram(m, &program)) }

// soak: everything is tried, and no sample.
func soak() bool { return os.Getenv("VENEER_SOAK") == "1" }
