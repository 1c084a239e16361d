package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

// TestCNI gives processes networks of their own, between this host and each.
func TestCNI(t *testing.T) {
	lower := debian(t)
	const plugins = "/usr/lib/cni"
	harness.Check(t, harness.Installed(filepath.Join(plugins, "ptp"), "containernetworking-plugins"))
	conf, data := t.TempDir(), t.TempDir()
	list := `{"cniVersion": "0.4.0", "name": "veneer-test", "plugins": [{"type": "ptp", "ipam":
		{"type": "host-local", "subnet": "10.253.87.0/24", "dataDir": "` + data + `", "routes": [{"dst": "10.253.88.0/24"}]}}]}`
	if err := os.WriteFile(filepath.Join(conf, "10-test.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	e, _ := enginetest.Embedded(t, "native")
	f := open(t, e, lower, run.Options{CNI: run.CNI{ConfDir: conf, PluginDirs: []string{plugins}}})
	i := f.image(t, nil)
	out := f.must(t, i, run.Process{}, "ls /sys/class/net; cat /sys/class/net/lo/flags; cat /proc/net/fib_trie | grep -c 10.253.87; grep ^nameserver /etc/resolv.conf")
	if !strings.HasPrefix(out, "eth0\nlo\n0x9\n") || !strings.Contains(out, "nameserver ") {
		t.Errorf("got %s", out)
	}
	// Its address is free again.
	held, err := filepath.Glob(filepath.Join(data, "veneer-test/10.*"))
	if err != nil || len(held) > 0 {
		t.Errorf("held: %v, %v", held, err)
	}
	if len(*f.notes) > 0 {
		t.Errorf("notes: %v", *f.notes)
	}
	f.nothingLeft(t)

	// A configuration that cannot be used is an error, and no reason to take the host's.
	if err := os.WriteFile(filepath.Join(conf, "10-test.conflist"), []byte(strings.Replace(list, "ptp", "no-such-plugin", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := f.sh(t, i, run.Process{}, "echo it runs"); err == nil || !strings.Contains(err.Error(), "the host's network works without it") {
		t.Errorf("%v, %s", err, out)
	}
	f.nothingLeft(t)
	f.must(t, i, run.Process{Network: run.NetworkNone}, "true")
}
