package veneer

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	process "github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/internal/systemd"
)

// unitWriter writes a drop-in.
type unitWriter struct {
	strings.Builder
	req      UnitRequest
	img      *content.Image
	config   ocispec.ImageConfig
	id       process.Identity
	warnings build.Warnings
}

func (w *unitWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *unitWriter) write() error {
	w.line("# Written by veneer unit from %s, and written anew by it.", systemd.Text(w.img.Name))
	w.line("[Unit]")
	w.line("Description=%s: %s", w.req.Instance, systemd.Text(w.img.Name))
	w.line("X-Veneer-Digest=%s", w.img.Manifest.Digest)
	w.line("\n[Service]")
	for _, part := range []func() error{w.mounts, w.command, w.environment, w.user, w.directory, w.signal} {
		if err := part(); err != nil {
			return err
		}
	}
	w.volumes()
	w.capabilities()
	return nil
}

// mounts has the image mounted before the service starts, and unmounted when it has ended:
// each start finds the image's own files. systemd makes mount points in it, so it is
// writable; the service itself finds it read-only (ProtectSystem= of the template).
func (w *unitWriter) mounts() error {
	dir := UnitMounts + "/" + w.req.Instance
	unmount := []string{"unmount", "--if-mounted", dir}
	for _, c := range []struct {
		key  string
		args []string
	}{
		{"ExecStartPre", unmount},
		{"ExecStartPre", []string{"--progress", "quiet", "mount", "--rw", w.img.Manifest.Digest.String(), dir}},
		{"ExecStopPost", unmount},
	} {
		line, err := systemd.Command("+", w.req.Program, slices.Concat([]string{w.req.Program}, w.req.Args, c.args))
		if err != nil {
			return err
		}
		w.line("%s=%s", c.key, line)
	}
	w.line("RootDirectory=%s", dir)
	return nil
}

// command is what a container of the image would run. An empty assignment takes back the
// template's.
func (w *unitWriter) command() error {
	line, err := systemd.Command("", w.id.Program, slices.Concat(w.config.Entrypoint, w.config.Cmd))
	if err != nil {
		return err
	}
	w.line("ExecStart=\nExecStart=%s", line)
	return nil
}

// environment is the image's, with what a container would have besides.
func (w *unitWriter) environment() error {
	env := slices.Clone(w.config.Env)
	for _, v := range []string{"PATH=" + w.id.Path, "HOME=" + w.id.Home} {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") }) {
			env = append(env, v)
		}
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		word, err := systemd.Assignment(name, value)
		if err != nil {
			w.warnings.Add(fmt.Sprintf("left out: %v", err))
			continue
		}
		w.line("Environment=%s", word)
	}
	return nil
}

func (w *unitWriter) user() error {
	w.line("User=%d\nGroup=%d", w.id.UID, w.id.GID)
	groups := slices.DeleteFunc(slices.Clone(w.id.Groups), func(g int) bool { return g == w.id.GID })
	if len(groups) > 0 {
		w.line("SupplementaryGroups=%s", numbers(groups))
	}
	return nil
}

func (w *unitWriter) directory() error {
	if w.config.WorkingDir == "" {
		return nil
	}
	dir, err := systemd.Path(path.Join("/", w.config.WorkingDir))
	if err == nil {
		w.line("WorkingDirectory=%s", dir)
	}
	return err
}

// signals are what an image's config may call a signal, as systemd knows them, besides
// numbers.
var signals = regexp.MustCompile(`^SIG(HUP|INT|QUIT|ABRT|KILL|USR1|USR2|PIPE|ALRM|TERM|CONT|STOP|TSTP|WINCH|IO|PWR|RTMIN(\+[0-9]+)?|RTMAX(-[0-9]+)?)$`)

func (w *unitWriter) signal() error {
	name := strings.ToUpper(w.config.StopSignal)
	if n, err := strconv.Atoi(name); name == "" || err == nil && n == 0 {
		return nil
	} else if err != nil && !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n, err := strconv.Atoi(name); !signals.MatchString(name) && (err != nil || n < 1 || n > 64) {
		w.warnings.Add(fmt.Sprintf("left out: the stop signal %q, which is not known", w.config.StopSignal))
		return nil
	}
	w.line("KillSignal=%s", name)
	return nil
}

// volumePath are the paths of volumes that need no quoting anywhere.
var volumePath = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)

// volumes are directories below /var/lib that stay.
func (w *unitWriter) volumes() {
	var names []string
	for name := range w.config.Volumes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		clean := path.Clean(name)
		if !volumePath.MatchString(clean) {
			w.warnings.Add(fmt.Sprintf("left out: the volume %q, of a name that needs quoting", name))
			continue
		}
		at := "veneer-" + w.req.Instance + "/" + strings.ReplaceAll(strings.Trim(clean, "/"), "/", "-")
		w.line("StateDirectory=%s\nBindPaths=%%S/%s:%s", at, at, clean)
	}
}

// capabilities are those that were asked for, with the system calls that some of them are
// for. A service of another user than root gets them when it starts.
func (w *unitWriter) capabilities() {
	if len(w.req.Capabilities) == 0 {
		return
	}
	list := strings.Join(w.req.Capabilities, " ")
	w.line("CapabilityBoundingSet=%s\nSystemCallFilter=@chown @setuid", list)
	if w.id.UID != 0 {
		w.line("AmbientCapabilities=%s", list)
	}
}

var capability = regexp.MustCompile(`^CAP_[A-Z_]+$`)

// CheckCapability returns an error for what cannot be the name of a capability.
func CheckCapability(name string) error {
	if !capability.MatchString(name) {
		return fmt.Errorf("capability %q: want a name such as CAP_NET_BIND_SERVICE", name)
	}
	return nil
}
