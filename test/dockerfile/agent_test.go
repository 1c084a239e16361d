package dockerfile_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/veneer-build/veneer"
)

// TestKeys: RUN --mount=type=ssh finds an agent that has the key of a file.
func TestKeys(t *testing.T) {
	f := embedded(t)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	// It asks for the keys (RFC draft-miller-ssh-agent, 4.4). The answer comes in pieces: read waits for all of one.
	const ask = `FROM BASE
RUN --mount=type=ssh perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die; \
  syswrite(S, pack("NC", 1, 11)); read(S, $h, 5); read(S, $n, 4); print "keys ", unpack("N", $n), "\n"'
`
	_, w := f.build(ask, func(r *veneer.DockerfileRequest) {
		r.Process.SSH = map[string]veneer.Agent{"default": {Keys: []string{key}}}
	})
	if !strings.Contains(w.output.String(), "keys 1\n") {
		t.Errorf("output %q", w.output.String())
	}
	if _, _, err := f.try(strings.Replace(ask, "type=ssh", "type=ssh,id=other,required", 1)); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("without an agent: %v", err)
	}
}
