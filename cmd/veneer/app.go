package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/pflag"

	"github.com/veneer-build/veneer"
)

// app is what all commands share: the standard streams, the global flags, and what
// these flags set up.
type app struct {
	std    streams
	getenv func(string) (string, bool)
	flags  globalFlags
	// args are all arguments of the program.
	args []string
	// badProgress says that the environment asks for a progress that there is not.
	badProgress error

	// started: a command's own code runs. From now on only errors that say so are
	// errors of the command line.
	started bool
	// stderr takes all messages. While a live display has the terminal, they go
	// through it.
	stderr *switchWriter
	log    *slog.Logger
	level  slog.LevelVar
	// quiet: nothing but errors on standard error.
	quiet bool
}

func newApp(std streams, getenv func(string) (string, bool)) *app {
	a := &app{std: std, getenv: getenv, stderr: &switchWriter{w: std.err}}
	a.log = slog.New(slog.DiscardHandler)
	return a
}

// globalFlags are the flags that every command has. An empty flag takes its value
// from an environment variable, or else from the engine's default.
type globalFlags struct {
	address     string
	namespace   string
	snapshotter string
	engine      enumValue
	root        string
	unpacker    enumValue
	debug       bool
	progress    enumValue
}

func (f *globalFlags) bind(fs *pflag.FlagSet) {
	f.engine = newEnum("", string(veneer.EngineAuto), string(veneer.EngineContainerd), string(veneer.EngineEmbedded))
	f.progress = newEnum("auto", "auto", "plain", "tty", "json", rawProgress, "quiet")
	fs.StringVarP(&f.address, "address", "a", "", "`socket` of containerd ($CONTAINERD_ADDRESS; default "+veneer.DefaultAddress+")")
	fs.StringVarP(&f.namespace, "namespace", "n", "", "containerd `namespace` ($CONTAINERD_NAMESPACE; default \""+veneer.DefaultNamespace+"\")")
	fs.StringVar(&f.snapshotter, "snapshotter", "", "containerd snapshotter, by `name` ($CONTAINERD_SNAPSHOTTER; default \""+veneer.DefaultSnapshotter+"\")")
	fs.Var(&f.engine, "engine", "where images live: auto, containerd or embedded ($VENEER_ENGINE; default \"auto\": containerd if it answers)")
	fs.StringVar(&f.root, "root", "", "`directory` of the embedded engine and of caches ($VENEER_ROOT; default /var/lib/veneer, for others than root ~/.local/share/veneer)")
	f.unpacker = newEnum(string(veneer.UnpackerAuto), string(veneer.UnpackerAuto), string(veneer.UnpackerContainerd))
	fs.Var(&f.unpacker, "unpacker", "who unpacks layers: auto (this process, where it may write to the snapshots) or containerd, as before")
	fs.BoolVar(&f.debug, "debug", false, "log what is done, on standard error")
	fs.Var(&f.progress, "progress", "how to show progress: auto, plain, tty, json, rawjson (a Dockerfile's steps as BuildKit tells them) or quiet ($VENEER_PROGRESS)")
}

// start sets up what the global flags ask for.
func (a *app) start() error {
	if err := a.engineOptions(nil).check(); err != nil {
		return err
	}
	a.started = true
	theirs := "fatal"
	a.level.Set(slog.LevelWarn)
	if a.flags.debug {
		theirs = "debug"
		a.level.Set(slog.LevelDebug)
	}
	if a.flags.progress.value == "quiet" {
		a.beQuiet()
	}
	o := &slog.HandlerOptions{Level: &a.level}
	a.log = slog.New(slog.NewTextHandler(a.stderr, o))
	if a.jsonMessages() {
		a.log = slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return veneer.QuietLogs(theirs)
}

// beQuiet suppresses all messages but errors, and what --debug asks for.
func (a *app) beQuiet() {
	a.quiet = true
	if !a.flags.debug {
		a.level.Set(slog.LevelError)
	}
}

// jsonMessages reports whether messages, and the error at the end, are JSON for a
// program.
func (a *app) jsonMessages() bool {
	return a.flags.progress.value == "json" || a.flags.progress.value == rawProgress
}

// engineFlags are veneer.EngineOptions before the mode is checked.
type engineFlags veneer.EngineOptions

func (a *app) engineOptions(notify func(string)) engineFlags {
	or := func(flag, env string) string {
		if flag == "" {
			flag, _ = a.getenv(env)
		}
		return flag
	}
	return engineFlags{
		Mode:        veneer.EngineMode(or(a.flags.engine.value, "VENEER_ENGINE")),
		Address:     or(a.flags.address, "CONTAINERD_ADDRESS"),
		Namespace:   or(a.flags.namespace, "CONTAINERD_NAMESPACE"),
		Snapshotter: or(a.flags.snapshotter, "CONTAINERD_SNAPSHOTTER"),
		Root:        or(a.flags.root, "VENEER_ROOT"),
		Unpacker:    veneer.Unpacker(a.flags.unpacker.value),
		Namespaced:  veneer.InUserNamespace(),
		Notify:      notify,
	}
}

func (f engineFlags) check() error {
	switch f.Mode {
	case "", veneer.EngineAuto, veneer.EngineContainerd, veneer.EngineEmbedded:
		return nil
	}
	return usagef("VENEER_ENGINE=%q: use auto, containerd or embedded", string(f.Mode))
}

// withEngine opens the engine, runs f with it on a context that has its
// namespace, and closes it.
func (a *app) withEngine(ctx context.Context, f func(context.Context, *veneer.Engine) error) (err error) {
	return a.with(ctx, veneer.EngineOptions(a.engineOptions(a.notify)), f)
}

// withReading is withEngine for commands that change nothing. They do not wait for
// other processes.
func (a *app) withReading(ctx context.Context, f func(context.Context, *veneer.Engine) error) (err error) {
	o := veneer.EngineOptions(a.engineOptions(a.notify))
	o.Reading = true
	return a.with(ctx, o, f)
}

func (a *app) with(ctx context.Context, o veneer.EngineOptions, f func(context.Context, *veneer.Engine) error) (err error) {
	e, err := veneer.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := e.Close(); err == nil {
			err = cerr
		}
	}()
	a.log.Debug("engine open", "engine", e.String(), "root", e.Root)
	return e.Diagnose(ctx, f(e.Context(ctx), e))
}

// withTemporaryEngine is withEngine for commands that need no stored images.
func withTemporaryEngine(ctx context.Context, f func(context.Context, *veneer.Engine) error) (err error) {
	e, closeAll, err := veneer.OpenTemporary(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	return f(e.Context(ctx), e)
}

// notify prints a line for the user, unless nothing is to be printed.
func (a *app) notify(line string) {
	switch {
	case a.quiet:
	case a.jsonMessages():
		if data, err := json.Marshal(map[string]string{"message": line}); err == nil {
			_, _ = fmt.Fprintln(a.stderr, string(escapeJSON(data)))
		}
	default:
		_, _ = fmt.Fprintln(a.stderr, "veneer: "+printable(line))
	}
}

// notifyAll prints a line for each notice.
func (a *app) notifyAll(kind string, list []veneer.Notice) {
	for _, n := range list {
		a.notify(kind + n.Text)
	}
}

// switchWriter writes messages to standard error, or to a live display while that
// has the terminal. Callers ignore its errors: a lost message is no reason to fail,
// since results go to standard output.
type switchWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *switchWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// use sends messages to w from now on, and returns where they went before.
func (s *switchWriter) use(w io.Writer) (before io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.w = s.w, w
	return before
}

// enumValue is a flag whose value is one of a few words.
type enumValue struct {
	value   string
	allowed []string
}

func newEnum(value string, allowed ...string) enumValue {
	return enumValue{value: value, allowed: allowed}
}

// Set implements [pflag.Value].
func (e *enumValue) Set(s string) error {
	for _, a := range e.allowed {
		if s == a {
			e.value = s
			return nil
		}
	}
	return errors.New("use " + orList(e.allowed))
}

func (e *enumValue) String() string { return e.value }

// Type implements [pflag.Value]; it is the placeholder in the help.
func (e *enumValue) Type() string { return "word" }
