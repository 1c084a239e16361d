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

// TestPathsAreBounded: a path counts once, and there is an end of others.
func TestPathsAreBounded(t *testing.T) {
	s := newPathSet()
	for i := range maxPaths {
		if err := errors.Join(s.add(fmt.Sprint(i)), s.add("0")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.add("one more"); !errors.Is(err, errPaths) {
		t.Errorf("%d paths: %v", len(s.sums), err)
	}
}
