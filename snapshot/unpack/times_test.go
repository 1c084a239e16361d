package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"testing"
)

// TestDirTimesAreBounded: names that come again and again need no more memory, and others end at the bound.
func TestDirTimesAreBounded(t *testing.T) {
	const size = 64 << 10 // which a name through links can have
	name := func(i int) string { return fmt.Sprintf("%0*d", size, i) }
	var same, others dirTimes
	for i := range 4 * maxText / size {
		if err := same.add(&tar.Header{Name: name(i % 100)}); err != nil {
			t.Fatal(err)
		}
	}
	if same.text > 2*textKept {
		t.Errorf("%d bytes of 100 names are kept", same.text)
	}
	var err error
	for i := 0; err == nil && i < 4*maxText/size; i++ {
		err = others.add(&tar.Header{Name: name(i)})
	}
	if !errors.Is(err, errDirNames) || others.text > 2*maxText {
		t.Errorf("%v after %d bytes", err, others.text)
	}
}
