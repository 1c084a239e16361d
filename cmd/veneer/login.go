package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

// loginFlags say who logs in.
type loginFlags struct {
	user, password string
	fromStdin      bool
}

func (a *app) loginCommand() *cobra.Command {
	var f registryFlags
	var login loginFlags
	cmd := &cobra.Command{
		Use:   "login [REGISTRY]",
		Short: "Log in to a registry",
		Long: `Ask a registry whether it takes a user name and a password, and keep them for pull,
push and build: where Docker keeps them, so that docker, nerdctl and others have
them too. That is the credential helper that ~/.docker/config.json names, or else
that file itself, unencrypted. Without REGISTRY it is Docker Hub.

What is not given is asked for on the terminal. Scripts give the password with
--password-stdin: all processes of a machine can see what is in a command line.`,
		Example: `  veneer login registry.example.org
  veneer login -u robot --password-stdin registry.example.org <token`,
		Args: atMostOneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := veneer.RegistryHost(strings.Join(args, ""))
			if err != nil {
				return asUsage(err)
			}
			if err := a.ask(cmd.Context(), &login); err != nil {
				return err
			}
			f.Notify = a.notify
			if err := veneer.Login(cmd.Context(), host, login.user, login.password, f.RegistryOptions); err != nil {
				return err
			}
			return printLine(a.std.out, "logged in to %s", host)
		},
	}
	f.bind(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&login.user, "username", "u", "", "user `name`")
	fs.StringVarP(&login.password, "password", "p", "", "the `password`; --password-stdin keeps it secret")
	fs.BoolVar(&login.fromStdin, "password-stdin", false, "read the password from standard input")
	exclusive(cmd, "password", "password-stdin")
	return cmd
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout [REGISTRY]",
		Short:   "Forget the credentials of a registry",
		Long:    `Remove the credentials of a registry from where veneer login and docker login keep them.`,
		Example: "  veneer logout registry.example.org",
		Args:    atMostOneArg,
		RunE: func(_ *cobra.Command, args []string) error {
			host, err := veneer.RegistryHost(strings.Join(args, ""))
			if err != nil {
				return asUsage(err)
			}
			if err := veneer.Logout(host, veneer.RegistryOptions{}); err != nil {
				return err
			}
			return printLine(a.std.out, "logged out of %s", host)
		},
	}
}

// maxPassword bounds what is read as a password. Tokens have some kilobytes.
const maxPassword = 64 << 10

// ask fills in what the flags do not say, from standard input.
func (a *app) ask(ctx context.Context, f *loginFlags) error {
	if f.fromStdin {
		if f.user == "" {
			return usagef("--password-stdin needs --username NAME")
		}
		var err error
		if f.password, err = a.readPassword(ctx); err != nil {
			return err
		}
	}
	if f.user != "" && f.password != "" {
		return nil
	}
	tty, isFile := a.std.in.(*os.File)
	if f.fromStdin || !isFile || !term.IsTerminal(int(tty.Fd())) {
		return usagef("want a user name and a password: --username NAME and --password-stdin, or a terminal to ask on")
	}
	var err error
	if f.user == "" {
		if f.user, err = a.askUser(ctx); err != nil {
			return err
		}
	}
	if f.password == "" {
		f.password, err = a.askPassword(ctx, tty)
	}
	return err
}

// readPassword reads all of standard input.
func (a *app) readPassword(ctx context.Context) (string, error) {
	data, err := io.ReadAll(io.LimitReader(a.stdin(ctx), maxPassword+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the password: %w", err)
	case len(data) > maxPassword:
		return "", fmt.Errorf("read the password: it is longer than %s", bytesText(maxPassword))
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

func (a *app) askUser(ctx context.Context) (string, error) {
	_, _ = fmt.Fprint(a.stderr, "Username: ")
	line, err := bufio.NewReader(io.LimitReader(a.stdin(ctx), maxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the user name: %w", err)
	}
	user := strings.TrimSpace(line)
	if user == "" {
		return "", errors.New("log in: there is no user name")
	}
	return user, nil
}

// askPassword reads a password from the terminal, which does not show it. Where a
// signal ends ctx, the terminal is as it was before.
func (a *app) askPassword(ctx context.Context, tty *os.File) (string, error) {
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	_, _ = fmt.Fprint(a.stderr, "Password: ")
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(int(tty.Fd()))
		read <- answer{text, err}
	}()
	select {
	case got := <-read:
		_, _ = fmt.Fprintln(a.stderr)
		switch {
		case got.err != nil:
			return "", fmt.Errorf("read the password: %w", got.err)
		case len(got.text) == 0:
			return "", errors.New("log in: there is no password")
		}
		return string(got.text), nil
	case <-ctx.Done():
		_, _ = fmt.Fprintln(a.stderr)
		return "", errors.Join(context.Cause(ctx), term.Restore(int(tty.Fd()), before))
	}
}
