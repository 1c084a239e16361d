package veneer

import (
	"errors"
	"fmt"
	"os/user"
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
	// users are lines of sysusers.d(5).
	users string
}

func (w *unitWriter) line(format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // A strings.Builder takes all.
}

// root is where the image is mounted. Another image is mounted elsewhere, so that the
// drop-ins of two images never go together.
func (w *unitWriter) root() string {
	return UnitMounts + "/" + w.req.Instance + "/" + w.img.Manifest.Digest.Encoded()[:12]
}

func (w *unitWriter) head() {
	w.line("# Of %s. It is written anew for each release.\n[Unit]", systemd.Text(w.img.Name))
}

func (w *unitWriter) write() error {
	w.head()
	w.line("Description=%s: %s", w.req.Instance, systemd.Text(w.img.Name))
	w.line("\n[Service]\nRootDirectory=%s", w.root())
	if err := errors.Join(w.command(), w.directory()); err != nil {
		return err
	}
	w.environment()
	w.user()
	w.signal()
	w.volumes()
	w.capabilities()
	return nil
}

// mountText is the drop-in for the unit that mounts the image while the service runs. systemd
// makes mount points in it, so it is writable, and gone afterwards. The service itself
// finds it read-only (ProtectSystem= of the template).
func (w *unitWriter) mountText() (string, error) {
	m := unitWriter{req: w.req, img: w.img}
	m.head()
	m.line("Description=Files of %s", systemd.Text(w.img.Name))
	m.line("\n[Service]\nExecStart=")
	// When it is stopped, this may be the drop-in of the next release already.
	unmount := slices.Concat(w.req.Unmount, []string{UnitMounts + "/" + w.req.Instance})
	for _, c := range []struct {
		key  string
		args []string
	}{
		{"ExecStartPre", unmount},
		{"ExecStart", slices.Concat(w.req.Mount, []string{w.img.Manifest.Digest.String(), w.root()})},
		{"ExecStop", unmount},
	} {
		line, err := systemd.Command("", c.args[0], c.args)
		if err != nil {
			return "", err
		}
		m.line("%s=%s", c.key, line)
	}
	return m.String(), nil
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
func (w *unitWriter) environment() {
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
}

// user is given by numbers, since names mean others on the host. systemd takes numbers
// only of users and groups that the host has.
func (w *unitWriter) user() {
	w.line("User=%d\nGroup=%d", w.id.UID, w.id.GID)
	groups := slices.DeleteFunc(slices.Clone(w.id.Groups), func(g int) bool { return g == w.id.GID })
	if len(groups) > 0 {
		w.line("SupplementaryGroups=%s", numbers(groups))
	}
	for _, gid := range append([]int{w.id.GID}, groups...) {
		if _, err := user.LookupGroupId(strconv.Itoa(gid)); err != nil {
			w.users += fmt.Sprintf("g veneer-%d %d\n", gid, gid)
		}
	}
	known, err := user.LookupId(strconv.Itoa(w.id.UID))
	switch {
	case err != nil:
		w.users += fmt.Sprintf("u veneer-%d %d:%d \"Of images\" /\n", w.id.UID, w.id.UID, w.id.GID)
	case w.id.UID != 0:
		w.warnings.Add(fmt.Sprintf("the user %d of the image is %s on this host: the service may read that user's files, and has its groups", w.id.UID, known.Username))
	}
}

func (w *unitWriter) directory() error {
	if w.config.WorkingDir == "" {
		return nil
	}
	if w.id.NoCwd {
		w.warnings.Add(fmt.Sprintf("the image lacks its working directory %q: the service runs in /", w.config.WorkingDir))
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

func (w *unitWriter) signal() {
	name := strings.ToUpper(w.config.StopSignal)
	if n, err := strconv.Atoi(name); name == "" || err == nil && n == 0 {
		return
	} else if err != nil && !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n, err := strconv.Atoi(name); !signals.MatchString(name) && (err != nil || n < 1 || n > 64) {
		w.warnings.Add(fmt.Sprintf("left out: the stop signal %q, which is not known", w.config.StopSignal))
		return
	}
	w.line("KillSignal=%s", name)
}

// volumePath are the paths of volumes that need no quoting anywhere, and have directories of
// their own.
var volumePath = regexp.MustCompile(`^(/[A-Za-z0-9_.]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?)+$`)

// volumeDir is the name of a volume's directory. No two paths have the same one, since no
// part of a path begins or ends with a hyphen.
var volumeDir = strings.NewReplacer("-", "--", "/", "-")

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
			w.warnings.Add(fmt.Sprintf("left out: the volume %q, of a name that needs quoting or has a hyphen at the end of a part", name))
			continue
		}
		at := "veneer-" + w.req.Instance + "/" + volumeDir.Replace(strings.Trim(clean, "/"))
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

// numbers writes owners for systemd.
func numbers(ids []int) string {
	var words []string
	for _, id := range ids {
		words = append(words, strconv.Itoa(id))
	}
	return strings.Join(words, " ")
}
