package main

import (
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `Veneer builds a container image as a base image plus one thin layer that holds
only what differs. It talks to containerd directly, or works on the same stores
opened in-process where there is none ("embedded").

Exit codes: 0 success; 1 failure; 2 the command line alone is wrong (an unknown
flag, a malformed name, an instruction that --change does not take); 128 plus
the signal's number where one ended it, as in 130 for an interrupt, and 141, in
silence, where nobody reads standard output any more, as after head(1). Each
error is one line on standard error; with --progress json it is a JSON object.

Environment: CONTAINERD_ADDRESS, CONTAINERD_NAMESPACE, CONTAINERD_SNAPSHOTTER,
VENEER_ENGINE, VENEER_ROOT and VENEER_PROGRESS stand for the flags that name them;
SOURCE_DATE_EPOCH for --source-date-epoch; NO_COLOR turns colours off; VENEER_PAGER
or PAGER shows a long diff on a terminal.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "veneer",
		Short: "Build container images as a base plus one thin layer",
		Long:  rootLong,
		Example: `  veneer pull debian:12
  veneer build --from debian:12 --sync ./app:/app -t app:1
  veneer diff --from app:1 --sync ./app:/app`,
		Args:              a.knownCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	a.flags.bind(root.PersistentFlags())
	completeWords(root, map[string][]string{"engine": a.flags.engine.allowed, "progress": a.flags.progress.allowed})
	root.AddCommand(
		a.buildCommand(), a.watchCommand(), a.deltaCommand(), a.squashCommand(), a.commitCommand(), a.diffCommand(),
		a.pullCommand(), a.pushCommand(), a.loginCommand(), a.logoutCommand(), a.saveCommand(), a.loadCommand(), a.importCommand(), a.exportCommand(),
		a.mountCommand(), a.unmountCommand(), a.unitCommand(),
		a.imagesCommand(), a.historyCommand(), a.inspectCommand(), a.exploreCommand(), a.reportCommand(),
		a.verifyCommand(), a.tagCommand(), a.rmiCommand(), a.pruneCommand(), a.systemCommand(),
		a.versionCommand(),
	)
	root.AddCommand(a.maintainerCommands()...)
	root.AddCommand(a.elsewhereCommands()...)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// That there is no such command says more than that it has no such flag.
		if words := cmd.Flags().Args(); cmd.HasAvailableSubCommands() && len(words) > 0 {
			return a.unknownCommand(root, append(strings.Fields(cmd.CommandPath())[1:], words...))
		}
		return err
	})
	root.SetHelpCommand(a.helpCommand())
	a.startBefore(root)
	a.bindVersion(root)
	a.complete(root)
	return root
}

// knownCommand refuses arguments of the program itself, and of a command that has only
// commands below it: they are no command.
func (a *app) knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return a.unknownCommand(cmd.Root(), append(strings.Fields(cmd.CommandPath())[1:], args...))
}

// startBefore makes each command call a.start first. Cobra's own hooks run too
// early: before it checks for missing flags.
func (a *app) startBefore(cmd *cobra.Command) {
	if runE := cmd.RunE; runE != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.defaultProgress(cmd)
			if err := a.start(); err != nil {
				return err
			}
			if err := a.checkProgress(cmd); err != nil {
				return err
			}
			return runE(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.startBefore(sub)
	}
}

// completeWords lets the shell complete flags whose value is one of a few words.
func completeWords(cmd *cobra.Command, words map[string][]string) {
	for flag, list := range words {
		// The error is that the flag is missing or has a completion already.
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err)
		}
	}
}

// helpCommand is cobra's, but that what is no command is an error.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if found, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range found.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return a.unknownCommand(cmd.Root(), args)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// refuseShells makes it an error to ask for the completions of a shell that there are
// none for. Cobra prints the help then, and succeeds.
func refuseShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion := commandOf(root, "completion")
	completion.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("completion %s: use bash, zsh, fish or powershell", args[0])
		}
		return nil
	}
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}
