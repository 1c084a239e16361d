package run_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/run"
)

func testDefaults(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	out := f.must(t, i, run.Process{Env: []string{"A=b c", "B="}}, "pwd; hostname; id; echo $A-$B-$HOME; echo /proc/[0-9]*; umask")
	if want := "/\nbuildkitsandbox\nuid=0(root) gid=0(root) groups=0(root)\nb c--/root\n/proc/1\n0022\n"; out != want {
		t.Errorf("got %s\nwant %s", out, want)
	}
	if got := i.written(t, f.lower); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
}

func testUsers(t *testing.T, f *fixture) {
	i := f.image(t, func(root string) error {
		g, err := os.OpenFile(filepath.Join(root, "etc/group"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = g.WriteString("friends:x:4321:games,nobody\nothers:x:4322:daemon\n")
		return errors.Join(err, g.Close())
	})
	for user, want := range map[string]string{
		"":               "0 0 0",
		"root":           "0 0 0",
		"games":          "5 60 60 4321",
		"games:others":   "5 4322 4322",
		"5":              "5 60 60 4321",
		"5:60":           "5 60 60",
		"12345":          "12345 0 0",
		"12345:23456":    "12345 23456 23456",
		"2147483647:1":   "2147483647 1 1",
		"nobody:friends": "65534 4321 4321",
		"root:12":        "0 12 12",
	} {
		// id begins with the group that is in force.
		out := f.must(t, i, run.Process{User: user}, "echo $(id -u) $(id -g) $(id -G)")
		if strings.TrimSpace(out) != want {
			t.Errorf("user %q: %s, want %s", user, strings.TrimSpace(out), want)
		}
	}
	for _, user := range []string{"stranger", "root:strangers", "-1", "1:2:3", "4000000000:1"} {
		if why := f.fails(t, i, run.Process{User: user}); !strings.Contains(why, user) {
			t.Errorf("user %q: %s", user, why)
		}
	}
	bare := f.image(t, func(root string) error {
		return errors.Join(os.Remove(filepath.Join(root, "etc/passwd")), os.Remove(filepath.Join(root, "etc/group")))
	})
	if out := f.must(t, bare, run.Process{}, "id -u"); out != "0\n" {
		t.Errorf("without /etc/passwd: %s", out)
	}
}

func testCwd(t *testing.T, f *fixture) {
	i := f.image(t, func(root string) error { return os.Symlink("/opt/../usr/../var/new", filepath.Join(root, "link")) })
	out := f.must(t, i, run.Process{Cwd: "/a/b//../c", User: "games"}, "pwd; stat -c '%u:%g %a' . ..; touch x")
	if out != "/a/c\n5:60 755\n5:60 755\n" {
		t.Errorf("made: %s", out)
	}
	if out = f.must(t, i, run.Process{Cwd: "/link/sub"}, "pwd -P"); out != "/var/new/sub\n" {
		t.Errorf("through a link: %s", out)
	}
	if out = f.must(t, i, run.Process{Cwd: "/usr/bin"}, "pwd"); out != "/usr/bin\n" {
		t.Errorf("one that is there: %s", out)
	}
	if why := f.fails(t, i, run.Process{Cwd: "/etc/passwd"}); !strings.Contains(why, "passwd") && !strings.Contains(why, "directory") {
		t.Errorf("a file: %s", why)
	}
	if err := f.runner.Run(f.ctx, i.mounts, run.Process{Args: []string{"true"}, Cwd: "relative"}); err == nil {
		t.Error("a relative one is taken")
	}
}

func testCapabilities(t *testing.T, f *fixture) {
	const script = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | tr '\\t\\n' '  '"
	// chown, dac_override, fsetid, fowner, mknod, net_raw, setgid, setuid, setfcap, setpcap, net_bind_service,
	// sys_chroot, kill, audit_write: containerd's defaults, which BuildKit takes as they are (executor/oci/spec.go).
	const set = "00000000a80425fb"
	i := f.image(t, nil)
	want := "CapInh: 0000000000000000 CapPrm: " + set + " CapEff: " + set + " CapBnd: " + set + " CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 2"
	if out := strings.Join(strings.Fields(f.must(t, i, run.Process{}, script)), " "); out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	none := strings.Repeat("0", 16)
	want = "CapInh: " + none + " CapPrm: " + none + " CapEff: " + none + " CapBnd: " + set + " CapAmb: " + none + " NoNewPrivs: 0 Seccomp: 2"
	if out := strings.Join(strings.Fields(f.must(t, i, run.Process{User: "nobody"}, script)), " "); out != want {
		t.Errorf("nobody's: got  %s\nwant %s", out, want)
	}
	// What the filter forbids.
	if out, err := f.sh(t, i, run.Process{}, "unshare -U true"); err == nil {
		t.Errorf("a user namespace can be made: %s", out)
	}
}

func testInsecure(t *testing.T, f *fixture) {
	var own string
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if caps, ok := strings.CutPrefix(line, "CapEff:"); ok {
			own = strings.TrimSpace(caps)
		}
	}
	out := f.must(t, f.image(t, nil), run.Process{Insecure: true},
		"grep -E '^(CapEff|Seccomp:)' /proc/self/status; ls /dev/kmsg /dev/fuse; echo x >/proc/sys/kernel/hostname && echo writable")
	for _, want := range []string{own, "Seccomp:\t0", "/dev/kmsg\n", "writable\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func testKernelFiles(t *testing.T, f *fixture) {
	out := f.must(t, f.image(t, nil), run.Process{}, `
		exec 2>&1 # in one pipe, so that the order stays
		ls /dev | tr '\n' ' '; echo
		for f in kcore keys timer_list interrupts; do test ! -e /proc/$f || head -c 1 /proc/$f; done | wc -c; ls /sys/firmware | wc -l
		echo 1 >/proc/sys/kernel/panic; touch /sys/x
		grep -c ' /run ' /proc/self/mountinfo; head -c 1 /dev/zero | wc -c; mknod /x c 1 3 && echo node
		cat /dev/mem; mknod /mem c 1 1 && cat /mem; true`)
	for _, want := range []string{
		"fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ", "\n0\n0\n",
		"panic: Read-only", "'/sys/x': Read-only", "\n0\n1\n", "node\n", "/mem: Operation not permitted",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func testNames(t *testing.T, f *fixture) {
	i := f.image(t, func(root string) error { return os.RemoveAll(filepath.Join(root, "etc/resolv.conf")) })
	p := run.Process{Hostname: "named", ExtraHosts: []run.Host{{"db", netip.MustParseAddr("10.1.2.3")}, {"db6", netip.MustParseAddr("fd00::1")}}}
	out := f.must(t, i, p, "hostname; cat /etc/hosts")
	if want := "named\n127.0.0.1\tlocalhost named\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\nfd00::1\tdb6\n"; out != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
	if out = f.must(t, i, run.Process{}, "getent hosts buildkitsandbox; cat /etc/resolv.conf; (echo x >/etc/hosts) 2>/dev/null || echo kept"); !strings.HasPrefix(out, "127.0.0.1") || !strings.HasSuffix(out, "kept\n") {
		t.Errorf("names: %s", out)
	}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		for line := range strings.Lines(string(host)) {
			if strings.HasPrefix(line, "nameserver") && !strings.Contains(out, strings.TrimSpace(line)) {
				t.Errorf("no %q in %s", line, out)
			}
		}
	}
	if got := i.written(t, f.lower); slices.ContainsFunc(got, func(name string) bool { return strings.Contains(name, "hosts") }) {
		t.Errorf("written: %v", got)
	}
	i.look(t, func(root string) error {
		if _, err := os.Lstat(filepath.Join(root, "etc/resolv.conf")); err == nil {
			t.Error("/etc/resolv.conf stays in the image")
		}
		return nil
	})
}

func testNetwork(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	out := f.must(t, i, run.Process{Network: run.NetworkNone}, "ls /sys/class/net; cat /sys/class/net/lo/flags; readlink /proc/self/ns/net")
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	// IFF_UP and IFF_LOOPBACK.
	if !strings.HasPrefix(out, "lo\n0x9\n") || strings.Contains(out, own) {
		t.Errorf("none: %s", out)
	}
	*f.notes = nil
	for _, network := range []run.Network{run.NetworkHost, run.NetworkDefault, run.NetworkDefault} {
		if out := f.must(t, i, run.Process{Network: network}, "readlink /proc/self/ns/net"); strings.TrimSpace(out) != own {
			t.Errorf("%q: %s", network, out)
		}
	}
	if err := f.runner.Run(f.ctx, i.mounts, run.Process{Args: []string{"true"}, Network: "moon"}); err == nil {
		t.Error("an unknown network is taken")
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
}
