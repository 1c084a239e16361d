package snapshot

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSyncEach: syncs on the way take nothing from the stream, and what fails of them is told, not lost for the last one.
func TestSyncEach(t *testing.T) {
	const text = "twelve bytes"
	s, err := newSyncer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(&syncEach{Reader: strings.NewReader(text), syncer: s, size: 5, left: 5})
	if err != nil || string(got) != text {
		t.Errorf("read %q: %v", got, err)
	}
	if s.running == nil {
		t.Error("nothing was synced on the way")
	}
	if err := errors.Join(s.end(), s.Close()); err != nil {
		t.Error(err)
	}

	broken, err := newSyncer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Of a closed directory every sync fails; the last one is of another that is not.
	if err := broken.dir.Close(); err != nil {
		t.Fatal(err)
	}
	r := &syncEach{Reader: strings.NewReader(text), syncer: broken, size: 5, left: 5}
	if _, err := r.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	broken.running <- <-broken.running // It is over.
	if broken.dir, err = os.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(broken.end(), broken.Close()); !errors.Is(err, unix.EBADF) {
		t.Errorf("a sync on the way failed, the last one did not: %v", err)
	}
}
