package harness_test

import (
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

func TestDebianImage(t *testing.T) {
	t.Log(harness.DebianRootfs(t), harness.DebianImage(t))
}
