package dockerfile_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
)

// A tar of d/ and d/f, by bzip2 -9, by xz, and by xz with a dictionary of 1 GiB.
const (
	byBzip2 = "QlpoOTFBWSZTWUTX8kcAAJZ7hMmQAGBAAP+AAANvCN4AAACACCAAkoSqHqaAANGjQ9R6gkqeJR6mT0TIMCYjc/aWX0kSSAr6gCgqQkYXYTsCRT" +
		"zMcLyoSBhZsnNxhx4ElWfMegDxPuMQOQoYpO9IUvRCBOlkwK8j3FlisA9B1RaKMOBhhwkH8XckU4UJBE1/JHA="
	byXZ = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/AH5dADILvBunjDRE4cIHdekACY2x7MmhpHYPyqYH2p/yYhY1DELnTx41P+n2YleN6DPSB7rjSd" +
		"M15JDCpWHSfuoqIjExPhpE8KYGaE0hG4jqDUxInDLjBM08Mh+kKYuk3L6oTp3Yr8sdDQAFMC57WwGBiroDE8tq36YqbI6cZOGmAAAAAPkGgDOn" +
		"CrrVAAGaAYBQAADDUC3DscRn+wIAAAAABFla"
	byBigXZ = "/Td6WFoAAATm1rRGAgAhASQAAABeH8f54Cf/AH5dADILvBunjDRE4cIHdekACY2x7MmhpHYPyqYH2p/yYhY1DELnTx41P+n2YleN6DPSB7rjSd" +
		"M15JDCpWHSfuoqIjExPhpE8KYGaE0hG4jqDUxInDLjBM08Mh+kKYuk3L6oTp3Yr8sdDQAFMC57WwGBiroDE8tq36YqbI6cZOGmAAAAAPkGgDOn" +
		"CrrVAAGaAYBQAADDUC3DscRn+wIAAAAABFla"
)

// TestAddArchives: ADD unpacks what Docker does, COPY nothing.
func TestAddArchives(t *testing.T) {
	f := embedded(t)
	for name, text := range map[string]string{"a.tar.bz2": byBzip2, "a.tar.xz": byXZ, "big.tar.xz": byBigXZ} {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		f.write(name, string(data))
	}
	f.build("FROM scratch\nADD a.tar.bz2 /bzip2/\nADD a.tar.xz /xz/\nCOPY a.tar.xz /copied/\nADD --unpack=false a.tar.xz /kept/\n")
	for _, dir := range []string{"/bzip2", "/xz"} {
		f.want(f.files("built:1", dir), map[string]string{".": "755 dir", "d": "755 dir", "d/f": "644 packed\n"})
	}
	for _, dir := range []string{"/copied", "/kept"} {
		if got := f.files("built:1", dir); !strings.Contains(got["a.tar.xz"], "7zXZ") {
			t.Errorf("%s: %q", dir, got)
		}
	}
	if _, _, err := f.try("FROM scratch\nADD big.tar.xz /\n"); err == nil || !strings.Contains(err.Error(), "128 MiB") {
		t.Errorf("a dictionary of 1 GiB: %v", err)
	}
}

// TestNamesOnScratch: where there is no image yet there are no names of users, and a number is needed.
func TestNamesOnScratch(t *testing.T) {
	f := embedded(t)
	f.write("file", "1")
	for _, owner := range []string{"app", "1:staff", "app:1"} {
		for _, verb := range []string{"COPY", "ADD"} {
			if _, _, err := f.try("FROM scratch\n" + verb + " --chown=" + owner + " file /\n"); err == nil || !strings.Contains(err.Error(), "FROM scratch") {
				t.Errorf("%s --chown=%s: %v", verb, owner, err)
			}
		}
	}
	f.build("FROM scratch\nCOPY --chown=1:2 file /\n")
}

// TestAddErrors: an error of what ADD fetches says the line, as of a directory that is not there.
func TestAddErrors(t *testing.T) {
	f := embedded(t)
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	gone := func(r *veneer.DockerfileRequest) { r.Contexts = map[string]string{"gone": f.dir + "/gone"} }
	for _, line := range []string{"ADD " + server.URL + "/a /", "ADD --checksum=sha256:" + strings.Repeat("0", 64) + " " + server.URL + "/a /", "COPY --from=gone a /"} {
		_, _, err := f.try("FROM BASE\nWORKDIR /w\n"+line+"\n", gone)
		if text := strings.Join(veneer.DockerfileExcerpts(err), ""); err == nil || !strings.Contains(text, ">>> "+line) {
			t.Errorf("%s: %v, %q", line, err, text)
		}
	}
}

// TestContextAttributes: extended attributes of the build context's files are this host's, and stay here.
func TestContextAttributes(t *testing.T) {
	f := embedded(t)
	f.write("d/file", "1")
	for _, p := range []string{f.dir + "/d/file", f.dir + "/d"} {
		if err := unix.Setxattr(p, "user.note", []byte("n"), 0); err != nil {
			t.Skipf("attributes: %v", err)
		}
	}
	var out bytes.Buffer
	f.build("FROM scratch\nCOPY d /a\nCOPY d/file /b/\nSYNC d /c\n", func(r *veneer.DockerfileRequest) {
		r.Output, r.Tags = &veneer.DockerfileOutput{Files: &out}, nil
	})
	files := 0
	for r := tar.NewReader(&out); ; files++ {
		h, err := r.Next()
		if err != nil {
			break
		}
		if len(h.PAXRecords) > 0 {
			t.Errorf("%s: %q", h.Name, h.PAXRecords)
		}
	}
	if files != 6 {
		t.Errorf("%d files", files)
	}
}
