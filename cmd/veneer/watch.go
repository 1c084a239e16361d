package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const watchLong = `Build an image, and build it again each time that its files change, until
interrupted. Each image is the one that veneer build would make of the files as
they are, with the same digest. The flags are those of veneer build: --from with
--copy and --sync, or a directory (PATH) with a Dockerfile, which is followed
without what its .dockerignore leaves out.

With --from a build costs what has changed, and not what there is: the kernel tells
where to look (inotify), what is known of the other files stays in memory, and the
layer has what differs from the base. So a base that has most of the files already,
such as an earlier build, makes quick builds. A Dockerfile is built by its cache.

A build begins when nothing has changed for --settle. If it makes the same image,
nothing more happens. Else the image gets its names, is pushed with --push,
--restart restarts what uses it, and --exec runs a command. A container has the
new image's files then, and the command, environment, mounts and network that it
was created with; what it wrote elsewhere is gone. A build that fails is told and
tried again, at the next change at the latest.

Some changes have no event: stores through a mapping that stays, writes by a name
outside of the directory, changes by another host. Everything is looked at every
--whole, and at the signal USR1; where there are no events, as on NFS, every --poll.

With --format json each build is one line of JSON on standard output, those that
fail, too. Under systemd (Type=notify) the unit is ready after the first image,
and WatchdogSec= works.`

// watchFlags are the flags that only watch has.
type watchFlags struct {
	settle, whole, poll time.Duration
	exec                string
	restart             []string
}

func (f *watchFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.DurationVar(&f.settle, "settle", veneer.DefaultSettle, "how long nothing must change before a build begins (`time`)")
	fs.DurationVar(&f.whole, "whole", veneer.DefaultWhole, "look at everything after this `time`, for changes without an event; 0: never")
	fs.DurationVar(&f.poll, "poll", veneer.DefaultPoll, "look at everything after this `time` where there are no events")
	fs.StringVar(&f.exec, "exec", "", "run a `command` of the shell after each new image, with VENEER_IMAGE and VENEER_DIGEST")
	fs.StringArrayVar(&f.restart, "restart", nil, "restart a container, or a systemd unit as app.service, after each new image, before --exec (`name`, repeatable)")
}

func (f *watchFlags) check() error {
	switch {
	case f.settle < 0 || f.settle > time.Hour:
		return usagef("--settle %s: want a time from 0 to 1h", f.settle)
	case f.whole < 0:
		return usagef("--whole %s: want a time from 0", f.whole)
	case f.poll < 100*time.Millisecond:
		return usagef("--poll %s: want a time from 100ms", f.poll)
	}
	return nil
}

func (a *app) watchCommand() *cobra.Command {
	var base baseFlags
	var image imageFlags
	var dockerfile dockerfileFlags
	var o buildOptions
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch [flags] [PATH]",
		Short: "Build an image again each time that its files change",
		Long:  watchLong,
		Example: `  veneer watch --from app:1 --sync ./app:/app -t app:dev
  veneer watch --from app:1 --sync ./app:/app -t app:dev --exec 'curl -fsS localhost:8080/reload'
  veneer watch --from app:1 --sync ./app:/app -t app:dev --restart app
  veneer watch --from app:1 --sync /srv/app:/app -t app:live --restart app.service
  veneer watch . -t app:dev --format json`,
		Args:        func(cmd *cobra.Command, args []string) error { return checkWay(cmd, base.from != "", args) },
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := o.push.check(image.tags); err != nil {
				return err
			}
			if len(image.tags) == 0 && slices.ContainsFunc(f.restart, isContainer) {
				return usagef("--restart of a container needs a name for the image: use -t")
			}
			w := a.newWatching(&o, &f)
			if base.from == "" {
				if err := a.checkFollowed(args[0], &dockerfile, &base, image, o); err != nil {
					return err
				}
				w.req.Context = a.watchDockerfile(args[0], &dockerfile, &base, image, &o)
				return w.run(cmd.Context())
			}
			req, err := a.buildRequest(&base, &image)
			if err != nil {
				return err
			}
			w.req.Build = &req
			return w.run(cmd.Context())
		},
	}
	base.bind(cmd)
	image.bind(cmd)
	o.bind(cmd)
	dockerfile.bind(cmd)
	f.bind(cmd)
	return cmd
}

// watching is one run of veneer watch.
type watching struct {
	*app
	req     veneer.WatchRequest
	options *buildOptions
	flags   *watchFlags
	service *service
	cause   veneer.WatchCause // of the build that goes on
	display display
	blind   string
}

func (a *app) newWatching(o *buildOptions, f *watchFlags) *watching {
	if o.quiet {
		a.beQuiet()
	}
	w := &watching{app: a, options: o, flags: f, service: newService(a.getenv)}
	w.req = veneer.WatchRequest{
		Settle: max(f.settle, 1), Whole: f.whole, Poll: f.poll, Open: w.open,
		Begin: w.begin, Built: w.built, Ended: w.ended,
	}
	if f.whole == 0 {
		w.req.Whole = -1
	}
	return w
}

func (w *watching) run(ctx context.Context) error {
	if err := w.checkUnits(ctx); err != nil {
		return err
	}
	again, stop := lookAgain(ctx)
	defer stop()
	w.req.Again = again
	defer w.closeDisplay()
	defer w.service.stopping()
	defer w.service.watchdog(ctx)()
	err := veneer.Watch(ctx, w.req)
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// lookAgain returns a channel that tells of the signal USR1.
func lookAgain(ctx context.Context) (<-chan struct{}, func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	again := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			select {
			case again <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return again, func() {
		signal.Stop(signals)
		cancel()
	}
}

// open opens the engine for a build. Before the first one it looks for what is to be
// restarted after it.
func (w *watching) open(ctx context.Context, do func(context.Context, *veneer.Engine) error) error {
	return w.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		if w.cause == veneer.WatchStart {
			if err := w.checkContainers(ctx, e); err != nil {
				return err
			}
		}
		return do(ctx, e)
	})
}

// begin shows the steps of a build. Only the first has so many files to look at that
// somebody waits for it.
func (w *watching) begin(cause veneer.WatchCause) veneer.Progress {
	w.service.building()
	w.cause = cause
	if cause != veneer.WatchStart || w.req.Context != nil {
		return nil
	}
	d, err := w.newDisplay(context.Background())
	if err != nil {
		return nil
	}
	w.display = d
	return d
}

// closeDisplay gives the terminal back.
func (w *watching) closeDisplay() {
	if w.display != nil {
		w.display.Close()
		w.display = nil
	}
}

// built is called while the engine is open.
func (w *watching) built(ctx context.Context, e *veneer.Engine, res *veneer.Result) error {
	w.closeDisplay()
	return w.options.push.send(ctx, w.app, e, res.Names)
}

// ended tells how a build ended, and does what follows it.
func (w *watching) ended(ctx context.Context, ending veneer.WatchEnding) error {
	w.closeDisplay()
	w.tellBlind(ending.Blind)
	if ending.Err != nil {
		w.failed(ending)
	} else if ending.Result != nil {
		if err := w.tell(ctx, ending); err != nil {
			return err
		}
		for _, name := range w.flags.restart {
			w.restart(ctx, ending.Result, name)
		}
		if w.flags.exec != "" {
			w.follow(ctx, ending.Result, "run "+w.flags.exec, "/bin/sh", "-c", w.flags.exec)
		}
	}
	w.service.waiting(ending)
	collectIdle()
	return nil
}

// tellBlind says once why there are no events.
func (w *watching) tellBlind(why string) {
	if why != "" && why != w.blind {
		w.notify("note: everything is looked at each time, every " + w.flags.poll.String() + " or less often, since not all changes have events: " + why)
	}
	w.blind = why
}

// watchLine is what --format json prints of a build.
type watchLine struct {
	Cause veneer.WatchCause `json:"cause"`
	// Took is the time from when the files had settled.
	Took  float64 `json:"took"`
	Error string  `json:"error,omitempty"`
	*veneer.Result
}

func (w *watching) printLine(line watchLine) error {
	data, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode a build as JSON: %w", err)
	}
	return printLine(w.std.out, "%s", escapeJSON(data))
}

// tell prints a build that made an image.
func (w *watching) tell(ctx context.Context, ending veneer.WatchEnding) error {
	res := ending.Result
	files, err := openResultFiles(ctx, *w.options)
	if err != nil {
		return err
	}
	defer files.discard()
	adviseResult(res)
	if err := files.write(res); err != nil {
		return err
	}
	w.notifyAll("warning: ", res.Warnings)
	if ending.Cause == veneer.WatchStart {
		w.notifyAll("note: ", res.Notes)
	}
	if !w.quiet && !w.jsonMessages() {
		_, _ = fmt.Fprintln(w.stderr, summaryText(res))
	}
	if w.options.format.value == "json" {
		return w.printLine(watchLine{Cause: ending.Cause, Took: ending.Seconds, Result: res})
	}
	return printLine(w.std.out, "%s", res.Digest)
}

// failed tells of a build that failed.
func (w *watching) failed(ending veneer.WatchEnding) {
	next := "the next build begins when something changes"
	if ending.Retry > 0 {
		next = fmt.Sprintf("the next build begins in %s, or when something changes", ending.Retry)
	}
	report(w.stderr, ending.Err, w.jsonMessages())
	w.notify(next)
	if w.options.format.value == "json" {
		_ = w.printLine(watchLine{Cause: ending.Cause, Took: ending.Seconds, Error: advised(ending.Err)}) // It is told on standard error, too.
	}
}

// watchDockerfile returns how the Dockerfile of a directory is built each time.
func (a *app) watchDockerfile(path string, f *dockerfileFlags, base *baseFlags, image imageFlags, o *buildOptions) *veneer.WatchContext {
	file := f.file
	if file == "" {
		file = findDockerfile(path)
	}
	c := &veneer.WatchContext{Dir: path, Ignore: []string{".dockerignore"}, Files: []string{filepath.Join(path, ".dockerignore")}}
	if file != "" {
		if abs, err := filepath.Abs(file + ".dockerignore"); err == nil {
			c.Ignore = []string{abs, ".dockerignore"}
		}
		c.Files = append(c.Files, file, file+".dockerignore")
	}
	c.Make = func(ctx context.Context, e *veneer.Engine, _ veneer.Progress) (*veneer.Result, error) {
		return a.buildOnce(ctx, e, path, f, base, image, *o)
	}
	return c
}

// checkFollowed refuses what can be built once only.
func (a *app) checkFollowed(path string, f *dockerfileFlags, base *baseFlags, image imageFlags, o buildOptions) error {
	switch {
	case path == "-" || isRemote(path) || f.file == "-":
		return usagef("%s cannot be followed: want a directory, and a Dockerfile that is a file", path)
	case f.check:
		return usagef("--check builds nothing: use veneer build --check")
	}
	_, out, err := a.dockerfileRequest(f, base, &image, &o)
	switch {
	case err != nil:
		return err
	case out != nil:
		return usagef("--output %s: what is followed is built into the engine", f.output)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() { // Else veneer.Watch says so.
		return checkDockerfileThere(path, f.file)
	}
	return nil
}

// checkDockerfileThere returns an error if a directory has no Dockerfile.
func checkDockerfileThere(dir, file string) error {
	file, err := dockerfileOf(dir, file)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return usagef("--file: %w", err)
	}
	return nil
}

// buildOnce builds a Dockerfile as it is now.
func (a *app) buildOnce(ctx context.Context, e *veneer.Engine, path string, f *dockerfileFlags, base *baseFlags, image imageFlags, o buildOptions) (*veneer.Result, error) {
	req, _, err := a.dockerfileRequest(f, base, &image, &o)
	if err != nil {
		return nil, err
	}
	closeContext, err := a.readContext(ctx, path, f.file, &req)
	if err != nil {
		return nil, err
	}
	defer closeContext()
	steps, err := a.newStepPrinter(ctx)
	if err != nil {
		return nil, err
	}
	defer steps.close()
	req.Watch = steps
	res, err := veneer.BuildDockerfile(ctx, e, req)
	steps.close()
	steps.explain(err)
	return res, err
}
