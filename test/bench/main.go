package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/veneer-build/veneer/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case measureCommand, measureAnonCommand:
			exit(runMeasured(ctx, os.Args[2:], os.Args[1] == measureAnonCommand))
		case profileCommand:
			exit(runProfile(ctx))
		case commitCommand:
			exit(runCommit(ctx, os.Args[2:]))
		}
	}
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// config is what the environment says; see the package's documentation.
type config struct {
	v1, v2  string
	rounds  int
	files   int
	tools   []string
	parts   []string
	pairs   []string
	million bool
	program string
	dir     string
	out     string
}

func readConfig() (config, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return config{}, err
	}
	c := config{
		v1: os.Getenv("BENCH_V1"), v2: os.Getenv("BENCH_V2"),
		tools: words("BENCH_TOOLS"), parts: words("BENCH_PARTS"), pairs: words("BENCH_PAIRS"),
		million: os.Getenv("BENCH_MILLION") == "1",
		program: os.Getenv("BENCH_PROGRAM"),
		dir:     os.Getenv("BENCH_DIR"), out: os.Getenv("BENCH_OUT"),
	}
	if (c.v1 == "") != (c.v2 == "") {
		return c, errors.New("BENCH_V1 and BENCH_V2 go together: set both or neither")
	}
	if c.program == "" {
		c.program = filepath.Join(root, "bin", "veneer")
	}
	if c.out == "" {
		c.out = root + "/docs"
	}
	if c.rounds, err = readNumber("BENCH_ROUNDS", 3); err != nil {
		return c, err
	}
	c.files, err = readNumber("BENCH_FILES", 70_000)
	return c, err
}

func readNumber(name string, otherwise int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s=%q: must be a number from 1", name, text)
	}
	return n, nil
}

func words(name string) []string {
	return strings.FieldsFunc(os.Getenv(name), func(r rune) bool { return r == ',' || r == ' ' })
}

// wants reports whether a part or tool is among those asked for; none asked for means all.
func wants(asked []string, name string) bool { return len(asked) == 0 || slices.Contains(asked, name) }

func run(ctx context.Context) (err error) {
	c, err := readConfig()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the daemons and mounts need root: run as root")
	}
	w, err := newWorld(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, part := range []struct {
		name string
		do   func(context.Context, *world) error
	}{
		{"rounds", rounds},
		{"cold", coldCache},
		{"prepare", prepareLatency},
		{"base", baseSizes},
		{"changes", changeCounts},
		{"fleet", fleet},
		{"deltas", deltas},
		{"dockerfile", dockerfile},
		{"verbs", verbs},
		{"million", millionFiles},
	} {
		if part.name == "million" && !c.million || part.name != "million" && !wants(c.parts, part.name) {
			continue
		}
		w.say("== %s", part.name)
		if err := part.do(ctx, w); err != nil {
			fmt.Println(w.markdown()) // An hour's figures are not to be lost; docs/ stays as it is.
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return w.report()
}
