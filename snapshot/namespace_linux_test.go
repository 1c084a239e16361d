package snapshot_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

// privateMountsEnv makes the test binary the program that PrivateMounts is
// called in: it needs to be done first in main, which TestMain is here.
const privateMountsEnv = "VENEER_TEST_PRIVATE_MOUNTS"

func TestMain(m *testing.M) {
	dir := os.Getenv(privateMountsEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := privateMain(dir); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// privateMain mounts something and ends without unmounting it.
func privateMain(dir string) error {
	if err := snapshot.PrivateMounts(); err != nil {
		return err
	}
	ns, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return err
	}
	fmt.Printf("pid=%d ns=%s args=%v env=%d comm=%s", os.Getpid(), ns, os.Args[1:], len(os.Environ()), comm)
	if os.Geteuid() != 0 {
		return nil
	}
	return unix.Mount("tmpfs", dir, "tmpfs", 0, "")
}

func TestPrivateMounts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the test program again")
	}
	enginetest.Root(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "a", "b c")
	cmd.Args[0] = filepath.Join(dir, "vnr")
	cmd.Env = []string{privateMountsEnv + "=" + dir, "X=y"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	got := string(out)
	// The same process, as far as anybody can tell, but for the namespace.
	if !strings.Contains(got, fmt.Sprintf("pid=%d ", cmd.Process.Pid)) || !strings.Contains(got, " args=[a b c] env=2 comm=vnr\n") {
		t.Errorf("the program is %q", got)
	}
	if strings.Contains(got, "ns="+ours+" ") {
		t.Errorf("mount namespace is the test's: %q", got)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("the mount arrived here, or stayed (%v)", err)
	}
}

func TestPrivateMountsWithoutRights(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the test program again")
	}
	if os.Geteuid() != 0 {
		if err := snapshot.PrivateMounts(); err != nil {
			t.Error(err)
		}
		return
	}
	enginetest.AsNobody(t, func(string) string { return "X=y" })
}

func BenchmarkPrivateMounts(b *testing.B) {
	enginetest.Root(b)
	for _, env := range []string{"_VENEER_PRIVATE_MOUNTS=1", "X=y"} {
		b.Run(env, func(b *testing.B) {
			dir := b.TempDir()
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "/proc/self/exe")
				cmd.Env = []string{privateMountsEnv + "=" + dir, env}
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				if env != "X=y" {
					if err := unix.Unmount(dir, 0); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// TestViewWithoutRights says what is missing, and leaves nothing.
func TestViewWithoutRights(t *testing.T) {
	if os.Geteuid() == 0 {
		enginetest.AsNobody(t, func(string) string { return "X=y" })
		return
	}
	for _, snapshotter := range []string{"overlayfs", "native"} {
		e, ctx := enginetest.Embedded(t, snapshotter)
		w := newWorld(ctx, t, e)
		key := "active"
		if _, err := w.sn.Prepare(w.ctx, key, ""); err != nil {
			t.Fatal(err)
		}
		if err := w.sn.Commit(w.ctx, "empty", key); err != nil {
			t.Fatal(err)
		}
		_, err := snapshot.OpenView(w.ctx, w.sn, "empty")
		if err == nil || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
			t.Errorf("%s: %v", snapshotter, err)
		}
		v, err := snapshot.OpenView(w.ctx, w.sn, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}
