package progress

import "log/slog"

// Log returns the logger that a caller gave for details, or one that discards
// them if it is nil.
func Log(given *slog.Logger) *slog.Logger {
	if given == nil {
		return slog.New(slog.DiscardHandler)
	}
	return given
}
