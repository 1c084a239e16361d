package target

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A pipe outside of the source may have the patterns. It is waited for until ctx ends.
func TestIgnoreFilePipe(t *testing.T) {
	s := Spec{Source: t.TempDir()}
	fresh := func() { // One that was given up may be opened when somebody writes.
		s.IgnoreFile = filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(s.IgnoreFile, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fresh()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if _, err := excludes(ctx, s); !errors.Is(err, stopped) {
		t.Errorf("nobody writes: %v", err)
	}
	for _, c := range []struct {
		data string
		want []string
		says string
	}{
		{"a\n# b\n!c\n", []string{"a", "!c"}, ""},
		{strings.Repeat("a", maxIgnoreFile+1), nil, "pipe: it is larger"},
	} {
		fresh()
		go func(pipe string) { _ = os.WriteFile(pipe, []byte(c.data), 0) }(s.IgnoreFile)
		got, err := excludes(t.Context(), s)
		if !slices.Equal(got, c.want) || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.20q: %q, %v", c.data, got, err)
		}
	}
}
