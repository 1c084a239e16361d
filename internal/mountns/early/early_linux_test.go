package early

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/internal/mountns"
)

// asProgram makes the test binary a program that tells where it is.
const asProgram = "VENEER_TEST_EARLY"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	second := mountns.Second()
	if second {
		if err := mountns.Settle(); err != nil {
			fmt.Println(err)
		}
	}
	ns, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("second=%t mark=%t pid=%d ns=%s args=%v", second, mountns.Second(), os.Getpid(), ns, os.Args[1:])
}

// TestEarly: the program is in a namespace of its own when main begins, if it is root's and may mount. It is the same
// process, and nothing is left of the mark.
func TestEarly(t *testing.T) {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Skip("SKIP: there is no /proc")
	}
	for _, test := range []struct {
		args, env string
		want      bool
	}{
		{"build .", "X=y", true},
		{"--root /x commit c", "X=y", true},
		{"watch . -t a", "X=y", true},
		{"mount build dir", "X=y", false},
		{"images", "X=y", false},
		{"", "X=y", false},
		{"build .", usernsEnv + "=mapping", false},
	} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", strings.Fields(test.args)...)
		cmd.Env = []string{asProgram + "=1", test.env}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", test.args, err, out)
		}
		got := string(out)
		if !strings.Contains(got, fmt.Sprintf(" mark=false pid=%d ", cmd.Process.Pid)) || !strings.HasSuffix(got, fmt.Sprintf("args=%v", strings.Fields(test.args))) {
			t.Errorf("%q: the program is %q", test.args, got)
		}
		if os.Geteuid() != 0 {
			test.want = false
		}
		second := strings.HasPrefix(got, "second=true ")
		if second != test.want && (!test.want || mayUnshare()) {
			t.Errorf("%q: started again: %t, want %t", test.args, second, test.want)
		}
		if second == strings.Contains(got, "ns="+ours+" ") {
			t.Errorf("%q: started again: %t, and it is in %q, this test in %s", test.args, second, got, ours)
		}
	}
}

// mayUnshare reports whether this process may have mounts of its own. Root in a container often may not.
func mayUnshare() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if caps, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var set uint64
			_, err := fmt.Sscanf(strings.TrimSpace(caps), "%x", &set)
			return err == nil && set>>21&1 != 0 // CAP_SYS_ADMIN
		}
	}
	return false
}
