package progress_test

import (
	"log/slog"
	"testing"

	"github.com/veneer-build/veneer/internal/progress"
)

func TestLog(t *testing.T) {
	if progress.Log(nil).Enabled(t.Context(), slog.LevelError) {
		t.Error("no logger, and details are kept")
	}
	if given := slog.Default(); progress.Log(given) != given {
		t.Error("the caller's logger is not taken")
	}
}
