package compression_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/internal/compression"
)

// frame is a whole stream that asks for a window of 2 to the power of log bytes (RFC 8878, section 3.1.1): one raw block.
func frame(log byte, text string) []byte {
	head := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, byte(len(text)<<3 | 1), 0, 0}
	return append(head, text...)
}

// TestWindows: what is within the limit is read, and what is above it is an error that says how large it is, of the
// first frame, and what to do.
func TestWindows(t *testing.T) {
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip")
	// A frame of one segment has no window but its content's size, here 1 GiB.
	segment := []byte("\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40\x01\x00\x00")
	small, large := frame(20, "small"), frame(28, "large")
	for name, c := range map[string]struct {
		data []byte
		text string
		says string
	}{
		"small":              {small, "small", ""},
		"the limit":          {frame(27, "limit"), "limit", ""},
		"two frames":         {slices.Concat(small, skippable, small), "smallsmall", ""},
		"large":              {large, "", "its zstd window of 256 MiB is above the limit of 128 MiB"},
		"one large segment":  {segment, "", "its zstd window of 1024 MiB is above"},
		"large, later":       {slices.Concat(small, large), "small", "a zstd window in it is above the limit of 128 MiB"},
		"large, skippable":   {slices.Concat(skippable, large), "", "a zstd window in it is above"},
		"segment, skippable": {slices.Concat(skippable, segment), "", "a zstd window in it is above"},
	} {
		var text []byte
		r, err := compression.NewReader("zstd", bytes.NewReader(c.data))
		if err == nil {
			text, err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		switch {
		case c.says == "" && err != nil, string(text) != c.text:
			t.Errorf("%s: %q, %v", name, text, err)
		case c.says != "" && (!errors.Is(err, compression.ErrWindow) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "compress it again")):
			t.Errorf("%s: %v", name, err)
		}
	}
}
