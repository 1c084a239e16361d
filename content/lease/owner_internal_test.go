package lease

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// What cannot be seen from here is not dead.
func TestJudge(t *testing.T) {
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	booted, ok := self.booted()
	if !ok || time.Since(booted) < 0 {
		t.Errorf("booted at %v, %t", booted, ok)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	zombie := exec.Command("true") // It is reaped at the end.
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	for began, over := time.Now(), false; !over; _, over, _ = statOf(strconv.Itoa(zombie.Process.Pid)) {
		if time.Since(began) > time.Minute {
			t.Fatal("the process is no zombie")
		}
	}
	with := func(key, value string) map[string]string {
		l := self.labels()
		l[key] = value
		return l
	}
	before := booted.Add(-time.Hour)
	foreignTime := self
	foreignTime.timens = "time:[1]"
	late := with(labelStart, "1")
	late[labelTimeNS] = "time:[1]"
	for _, c := range []struct {
		what    string
		labels  map[string]string
		created time.Time
		self    process
		want    verdict
	}{
		{"this one", self.labels(), time.Now(), self, alive},
		{"one that ended", with(labelPID, strconv.Itoa(gone.Process.Pid)), time.Now(), self, dead},
		{"one that ended and was not reaped", with(labelPID, strconv.Itoa(zombie.Process.Pid)), time.Now(), self, dead},
		{"a number that was given again", with(labelStart, "1"), time.Now(), self, dead},
		{"another time", late, time.Now(), self, unknown},
		{"of before times were noted", with(labelTimeNS, ""), time.Now(), self, alive},
		{"another PID namespace", with(labelPIDNS, "pid:[1]"), time.Now(), self, unknown},
		{"another boot", with(labelBoot, "x"), before, self, dead},
		{"another boot ID, but made since", with(labelBoot, "x"), time.Now(), self, unknown},
		{"another boot ID, seen from another time", with(labelBoot, "x"), before, foreignTime, unknown},
		{"no number", with(labelPID, "x"), time.Now(), self, unknown},
		{"a group", with(labelPID, "-1"), time.Now(), self, unknown},
		{"nobody", nil, time.Now(), self, unknown},
	} {
		if got := judge(c.labels, c.created, c.self); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// A user to whom /proc shows no processes of others (hidepid=2).
func TestJudgeHidden(t *testing.T) {
	const labelsOf = "VENEER_TEST_JUDGE_PID"
	if pid := os.Getenv(labelsOf); pid != "" {
		self, err := thisProcess()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := statOf(pid); err == nil {
			t.Fatal("the process is not hidden")
		}
		labels := self.labels()
		labels[labelPID] = pid
		if got := judge(labels, time.Now(), self); got != alive {
			t.Errorf("a hidden process: %d, want %d", got, alive)
		}
		return
	}
	harness.RequireRoot(t) // to mount such a /proc
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own, which ends with it.
	run := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec",
		`mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid=12345 --regid=12345 --clear-groups "$0" -test.run=TestJudgeHidden`, "/proc/self/fd/3")
	run.Env = append(os.Environ(), labelsOf+"="+strconv.Itoa(os.Getpid()))
	f, err := os.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run.ExtraFiles = []*os.File{f}
	out, err := run.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
