package main

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// enterUserNamespace runs the program in a user namespace where an ordinary user's
// command is for one. done: it has ended there, or could not begin.
func enterUserNamespace(args []string) (done bool, code int) {
	n := namespace{must: true}
	if !veneer.BegunUserNamespace() {
		if os.Geteuid() == 0 {
			return false, 0
		}
		if n = wantsNamespace(args, os.LookupEnv); !n.wanted {
			return false, 0
		}
	}
	done, code, err := veneer.UserNamespace(context.Background(), n.root)
	if errors.As(err, new(*veneer.MissingError)) && !n.must {
		return false, 0 // It may come to its end without.
	}
	if err != nil {
		return true, report(os.Stderr, err, wantsJSON(args, os.LookupEnv))
	}
	return done, code
}

// namespace says whether a command of an ordinary user is for a user namespace.
type namespace struct {
	wanted bool
	// must: without one it cannot be done.
	must bool
	root string
}

// wantsNamespace decides: a Dockerfile's build on the embedded engine must be in
// one, and so should be what works later on what that left.
func wantsNamespace(args []string, getenv func(string) (string, bool)) namespace {
	a := newApp(streams{}, getenv)
	cmd, rest, err := a.rootCommand().Find(args)
	if err != nil || !cmd.HasParent() || cmd.ParseFlags(rest) != nil || cmd.Flags().Changed("help") {
		return namespace{} // The command says what is wrong.
	}
	if slices.Contains(filesNotNeeded(), cmd.Name()) || strings.HasPrefix(cmd.Name(), "__") {
		return namespace{}
	}
	o := a.engineOptions(nil)
	n := namespace{must: buildsDockerfile(cmd), root: o.Root}
	if n.root == "" {
		n.root = veneer.DefaultRoot()
	}
	n.wanted = n.root != "" && (n.must || veneer.HasNamespaced(n.root)) && o.embedded()
	return n
}

// filesNotNeeded are the commands that neither read nor remove unpacked files.
func filesNotNeeded() []string {
	return []string{"images", "history", "inspect", "version", "login", "logout", "help", "completion", "gen-docs"}
}

// buildsDockerfile reports whether the command has to run or to unpack something.
func buildsDockerfile(cmd *cobra.Command) bool {
	if cmd.Name() != "build" || cmd.Flags().NArg() != 1 {
		return false
	}
	for _, other := range []string{"from", "check"} {
		if cmd.Flags().Changed(other) {
			return false
		}
	}
	return true
}

// socketTimeout bounds the wait for a socket that nobody accepts from.
const socketTimeout = time.Second

// embedded reports whether the embedded engine will be taken.
func (f engineFlags) embedded() bool {
	if f.Mode == veneer.EngineEmbedded {
		return true
	}
	// What is named is looked for in a daemon alone.
	if f.Mode == veneer.EngineContainerd || f.Address != "" || f.Namespace != "" || f.Snapshotter != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", veneer.DefaultAddress)
	if err == nil {
		_ = c.Close() // Nothing was written.
	}
	return err != nil
}
