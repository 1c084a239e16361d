package dockerfile

import (
	"crypto/ed25519"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// writeKey writes a private key, with a passphrase or without.
func writeKey(t *testing.T, name, passphrase string) (string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return p, key
}

// connect serves an agent and connects to it.
func connect(t *testing.T, a Agent) agent.ExtendedAgent {
	t.Helper()
	open, err := a.opener(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveAgent(l, open)
	c, err := new(net.Dialer).DialContext(t.Context(), "unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return agent.NewClient(c)
}

// TestAgent: a process can list and use the keys of files, and those of an agent, and
// cannot change them.
func TestAgent(t *testing.T) {
	file, public := writeKey(t, "id", "")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ring := agent.NewKeyring()
	key, err := readKey(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	for name, a := range map[string]Agent{"keys": {Keys: []string{file}}, "socket": {Socket: l.Addr().String()}} {
		c := connect(t, a)
		list, err := c.List()
		if err != nil || len(list) != 1 || string(list[0].Marshal()) != string(public.Marshal()) {
			t.Fatalf("%s: %v, %v", name, list, err)
		}
		sig, err := c.Sign(public, []byte("data"))
		if err != nil || public.Verify([]byte("data"), sig) != nil {
			t.Errorf("%s: signature %v, %v", name, sig, err)
		}
		for what, err := range map[string]error{"remove": c.Remove(public), "remove all": c.RemoveAll(), "lock": c.Lock([]byte("x")), "add": c.Add(agent.AddedKey{PrivateKey: key})} {
			if err == nil {
				t.Errorf("%s: %s was done", name, what)
			}
		}
		if list, err := c.List(); err != nil || len(list) != 1 {
			t.Errorf("%s: afterwards %v, %v", name, list, err)
		}
	}
}

func TestAgentKeys(t *testing.T) {
	locked, _ := writeKey(t, "id", "secret")
	if _, err := (Agent{Keys: []string{locked}}).opener(t.Context()); err == nil || !strings.Contains(err.Error(), "passphrase") || !strings.Contains(err.Error(), locked) {
		t.Errorf("a key with a passphrase: %v", err)
	}
	if _, err := (Agent{Keys: []string{"/dev/null"}}).opener(t.Context()); err == nil {
		t.Error("no key: no error")
	}
}
