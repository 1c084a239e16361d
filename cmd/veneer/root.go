package main

import (
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
		Args:              knownCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	a.flags.bind(root.PersistentFlags())
	completeWords(root, map[string][]string{"engine": a.flags.engine.allowed, "progress": a.flags.progress.allowed})
	root.AddCommand(
		a.buildCommand(), a.deltaCommand(), a.squashCommand(), a.commitCommand(), a.diffCommand(),
		a.pullCommand(), a.pushCommand(), a.loginCommand(), a.logoutCommand(), a.saveCommand(), a.loadCommand(), a.importCommand(), a.exportCommand(), a.mountCommand(), a.unmountCommand(), a.unitCommand(),
		a.imagesCommand(), a.historyCommand(), a.inspectCommand(), a.exploreCommand(), a.reportCommand(),
		a.verifyCommand(), a.tagCommand(), a.rmiCommand(), a.pruneCommand(), a.systemCommand(),
		a.versionCommand(),
	)
	root.AddCommand(a.maintainerCommands()...)
	root.AddCommand(a.elsewhereCommands()...)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// That there is no such command says more than that it has no such flag.
		if cmd == root && cmd.Flags().NArg() > 0 {
			return unknownCommand(root, cmd.Flags().Args())
		}
		return err
	})
	a.startBefore(root)
	a.bindVersion(root)
	a.complete(root)
	return root
}

// knownCommand refuses arguments of the program itself: they are no command.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(root, args)
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
