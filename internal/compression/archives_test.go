package compression

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
)

// A tar of d/ and d/f, by bzip2 -9, by xz, and by xz with a dictionary of 1 GiB.
const (
	byBzip2 = "QlpoOTFBWSZTWUTX8kcAAJZ7hMmQAGBAAP+AAANvCN4AAACACCAAkoSqHqaAANGjQ9R6gkqeJR6mT0TIMCYjc/aWX0kSSAr6gCgqQkYXYTsCRTzMcLyoSBhZ" +
		"snNxhx4ElWfMegDxPuMQOQoYpO9IUvRCBOlkwK8j3FlisA9B1RaKMOBhhwkH8XckU4UJBE1/JHA="
	byXZ = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/AH5dADILvBunjDRE4cIHdekACY2x7MmhpHYPyqYH2p/yYhY1DELnTx41P+n2YleN6DPSB7rjSdM15JDCpWHS" +
		"fuoqIjExPhpE8KYGaE0hG4jqDUxInDLjBM08Mh+kKYuk3L6oTp3Yr8sdDQAFMC57WwGBiroDE8tq36YqbI6cZOGmAAAAAPkGgDOnCrrVAAGaAYBQAADDUC3D" +
		"scRn+wIAAAAABFla"
	byBigXZ = "/Td6WFoAAATm1rRGAgAhASQAAABeH8f54Cf/AH5dADILvBunjDRE4cIHdekACY2x7MmhpHYPyqYH2p/yYhY1DELnTx41P+n2YleN6DPSB7rjSdM15JDCpWHS" +
		"fuoqIjExPhpE8KYGaE0hG4jqDUxInDLjBM08Mh+kKYuk3L6oTp3Yr8sdDQAFMC57WwGBiroDE8tq36YqbI6cZOGmAAAAAPkGgDOnCrrVAAGaAYBQAADDUC3D" +
		"scRn+wIAAAAABFla"
)

func TestDecompressArchive(t *testing.T) {
	for kind, text := range map[string]string{"bzip2": byBzip2, "xz": byXZ} {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		r, got, err := DecompressArchive(bytes.NewReader(data))
		if err != nil || got != kind {
			t.Fatalf("%s: %s, %v", kind, got, err)
		}
		tr := tar.NewReader(r)
		var names []string
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			names = append(names, h.Name)
		}
		if strings.Join(names, " ") != "d/ d/f" {
			t.Errorf("%s: %q", kind, names)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if r, _, err = DecompressArchive(bytes.NewReader(data[:len(data)-5])); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s, cut short: %v", kind, err)
		}
		// Layers are not of these formats.
		if _, _, err := Decompress(bytes.NewReader(data)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s as a layer: %v", kind, err)
		}
	}
	data, err := base64.StdEncoding.DecodeString(byBigXZ)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := DecompressArchive(bytes.NewReader(data))
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if !errors.Is(err, ErrWindow) {
		t.Errorf("a dictionary of 1 GiB: %v", err)
	}
}
