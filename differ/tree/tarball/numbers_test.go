package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// TestScanNumbers: numbers that Linux would cut are refused, in each of tar's notations; the largest that it takes are kept.
func TestScanNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		h    treetest.Header
		says string
	}{
		"owner 2^32":        {treetest.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1 << 32}, "owner 4294967296:0 is out of range"},
		"group 2^32+5":      {treetest.Header{Typeflag: tar.TypeReg, Name: "f", Gid: 1<<32 + 5}, "owner 0:4294967301 is out of range"},
		"owner, base 256":   {treetest.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1 << 40, Format: tar.FormatGNU}, "is out of range"},
		"negative owner":    {treetest.Header{Typeflag: tar.TypeDir, Name: "f", Uid: -2, Format: tar.FormatGNU}, "owner -2:0 is out of range"},
		"owner of a link":   {treetest.Header{Typeflag: tar.TypeLink, Name: "f", Linkname: "g", Gid: 1 << 33}, "is out of range"},
		"largest owner":     {treetest.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1<<32 - 2, Gid: 1<<32 - 2}, ""},
		"major number":      {treetest.Header{Typeflag: tar.TypeChar, Name: "f", Devmajor: 1 << 12}, "device number 4096:0 is out of range"},
		"minor number":      {treetest.Header{Typeflag: tar.TypeBlock, Name: "f", Devminor: 1 << 20}, "device number 0:1048576 is out of range"},
		"negative number":   {treetest.Header{Typeflag: tar.TypeBlock, Name: "f", Devmajor: -1, Format: tar.FormatGNU}, "is out of range"},
		"largest device":    {treetest.Header{Typeflag: tar.TypeChar, Name: "f", Devmajor: 1<<12 - 1, Devminor: 1<<20 - 1}, ""},
		"owner of a global": {treetest.Header{Typeflag: tar.TypeXGlobalHeader, Name: "f", PAXRecords: map[string]string{"comment": "c"}}, ""},
	} {
		data := treetest.Layer{c.h}.Bytes(t)
		_, err := index.ScanLayer(context.Background(), bytes.NewReader(data), nil)
		archived := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(archived, data, 0o600); err != nil {
			t.Fatal(err)
		}
		tr, tarErr := Open(context.Background(), archived, "")
		if tarErr == nil {
			tr.Close() // only read
		}
		for _, err := range []error{err, tarErr} {
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(none, treetest.Layer{treetest.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1<<32 - 1}}.Bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), none, ""); err == nil || !strings.Contains(err.Error(), "means no owner") {
		t.Errorf("owner 4294967295: %v", err)
	}
}
