package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// notVerbs are words of other programs for what veneer does in another way, or does
// not, with what to do. A word that is another one for a command is in otherWords.
var notVerbs = map[string]string{
	"search":     listsNothing,
	"catalog":    listsNothing,
	"list-tags":  listsNothing,
	"copy":       "veneer pull A, veneer tag A B and veneer push B take an image to another registry",
	"sync":       "veneer build --from IMAGE --sync DIR:PATH -t NAME makes PATH of an image what DIR is",
	"add":        addsFiles,
	"append":     addsFiles,
	"insert":     addsFiles,
	"repack":     "veneer build --from IMAGE --sync DIR:PATH -t NAME makes a layer of what differs in a directory",
	"unpack":     "veneer export IMAGE -o DIR/ writes an image's files",
	"mutate":     "veneer build --from IMAGE -c 'CMD [\"/app\"]' -t NAME edits a config",
	"rebase":     "build again on the new base, or make one layer on it with veneer delta BASE IMAGE -t NAME",
	"from":       "veneer build --from IMAGE --copy SRC:DEST -t NAME is one command, without a working container",
	"new":        "veneer build --from scratch --copy SRC:DEST -t NAME starts with no files",
	"init":       "veneer build --from scratch --copy SRC:DEST -t NAME starts with no files",
	"checkout":   goesBack,
	"revert":     goesBack,
	"rollback":   goesBack,
	"digest":     "veneer inspect --format '{{.Digest}}' IMAGE prints it",
	"df":         "veneer system df shows what takes space",
	"info":       "veneer system df shows what takes space, and veneer version prints the version",
	"man":        "veneer help COMMAND, or man veneer-COMMAND where the man pages are installed",
	"content":    "ctr content ls lists blobs, and veneer inspect shows those of an image",
	"namespaces": "ctr namespaces ls lists them, and veneer takes --namespace",
	"snapshots":  "ctr snapshots ls lists them, and veneer system df shows what they take",
	"leases":     "ctr leases ls lists them, and veneer prune removes those of killed builds",
}

const (
	listsNothing = "veneer asks a registry for no lists; skopeo list-tags docker://NAME does"
	addsFiles    = "veneer build --from IMAGE --copy SRC:DEST -t NAME adds files to an image"
	goesBack     = "veneer tag OLD NAME gives the name to the older image"
)

// notFlags are flags of other programs, by command, with what to do; those of all
// commands have no name. A flag of one letter stands without its dash.
var notFlags = map[string]map[string]string{
	"": {
		"color": "NO_COLOR=1 turns colours off", "no-color": "NO_COLOR=1 turns colours off",
		"json": "use --format json", "quiet": "use --progress quiet", "q": "use --progress quiet",
		"v": "use --debug", "verbose": "use --debug",
		"tls-verify": plainHTTP, "insecure": plainHTTP, "insecure-registry": plainHTTP,
		"src-tls-verify": plainHTTP, "dest-tls-verify": plainHTTP,
		"authfile": "DOCKER_CONFIG=DIRECTORY says where credentials are", "creds": "use veneer login",
	},
	"build": {
		"squash": "veneer squash makes one layer of several, and --onto IMAGE makes the result one layer",
		"rm":     nothingToRemove, "force-rm": nothingToRemove, "layers": "leave it out: steps are always kept, and --no-cache does them again",
		"provenance": noAttestations, "sbom": noAttestations, "attest": noAttestations,
		"memory": noLimits, "memory-swap": noLimits, "cpus": noLimits, "cpu-shares": noLimits, "cpu-quota": noLimits, "cpu-period": noLimits,
		"cpuset-cpus": noLimits, "cgroup-parent": noLimits, "isolation": "leave it out: RUN has a container always",
		"builder": "leave it out: there is no builder to choose", "timestamp": "use --source-date-epoch", "annotate": "use --annotation",
		"compress": "leave it out: layers are compressed", "disable-content-trust": "leave it out: no such signatures are looked at",
		"call": onlyChecks, "print": onlyChecks, "security-opt": "RUN --security=insecure with --allow security.insecure takes limits away",
		"volume": "RUN --mount shows files of a context, and --build-context names more of those",
	},
	"diff": {
		"name-status": "use --name-only; without it each line has A, M or D", "shortstat": "the first lines are that; see also --stat",
		"summary": "the first lines are that; see also --stat", "quiet": "use --exit-code, and --progress quiet", "q": "use --exit-code, and --progress quiet",
		"cached": "use --from IMAGE --sync DIR:PATH to compare a directory", "staged": "use --from IMAGE --sync DIR:PATH to compare a directory",
	},
	"explore": {"ci": "leave it out: veneer shows waste, and judges none"},
	"history": {"human": "leave it out: sizes are for people, and --format json has bytes", "H": "leave it out: sizes are for people, and --format json has bytes"},
	"images": {
		"digests": "the digest is a column, and --no-trunc prints it whole", "tree": "veneer system df --verbose says what images share",
		"all": "leave it out: all names are listed",
	},
	"inspect": {"raw": "use --manifest", "type": "leave it out: veneer inspects images only", "size": "leave it out: --format '{{.Size}}' prints it"},
	"prune":   {"force": "leave it out: nothing is asked", "f": "leave it out: nothing is asked", "volumes": "leave it out: veneer has no volumes"},
	"pull":    {"all-tags": "pull one tag after another"},
	"push":    {"all-tags": "push one tag after another", "tls-verify": plainHTTP},
}

const (
	plainHTTP       = "use --plain-http for HTTP, and ca.crt in a directory of --hosts-dir for a certificate"
	nothingToRemove = "leave it out: nothing stays that has to be removed"
	noAttestations  = "leave it out: no attestations are made"
	onlyChecks      = "--check looks at the Dockerfile and builds nothing; the other calls are not there"
	noLimits        = "leave it out: nothing limits a RUN"
)

// shortAddress are commands where docker's -a means something else than --address.
var shortAddress = map[string]string{
	"images": "all names are listed without it",
	"prune":  "use --all",
	"pull":   "use --all-platforms, or pull one tag after another",
	"push":   "push one tag after another",
	"commit": "use --author",
	"diff":   "use --all",
}

// habitFlag is what to do about a flag that a command has not, named without
// dashes. It is empty where there is nothing to say.
func habitFlag(cmd *cobra.Command, name string) string {
	if what := cmp.Or(notFlags[cmd.Name()][name], notFlags[""][name]); what != "" {
		return what
	}
	if len(name) < 3 {
		return ""
	}
	// Cobra knows which commands a word may mean, and so which flags.
	flags := &cobra.Command{SuggestionsMinimumDistance: 2}
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	var meant []string
	for _, flag := range flags.SuggestionsFor(name) {
		meant = append(meant, "--"+flag)
	}
	if len(meant) == 0 {
		return ""
	}
	return "there is " + orList(meant)
}

// habitAddress is what to do where -a may not have been meant as --address.
func habitAddress(cmd *cobra.Command, doubtful bool) string {
	if what := shortAddress[cmd.Name()]; doubtful && what != "" {
		return "-a is --address here: " + what
	}
	return ""
}

// withHabit is an error's text with what to do about it.
func withHabit(text, habit string) error {
	if habit != "" {
		text += "; " + habit
	}
	return errors.New(text)
}

// asArgument is what to do about an image's name where a command should be.
func asArgument(word string) string {
	if !strings.ContainsAny(word, ":/@") || strings.HasPrefix(word, ".") || strings.HasPrefix(word, "/") {
		return ""
	}
	return fmt.Sprintf("veneer explore %s looks into an image, and veneer inspect %[1]s shows its config", shellWord(word))
}

// transports are the words of skopeo and podman for where an image is.
var transports = map[string]string{
	"docker-archive:":     "archive:",
	"oci-archive:":        "archive:",
	"docker-daemon:":      "",
	"containers-storage:": "",
}

// adviseTransport is what to write for skopeo's name of a place. It is empty for
// other names.
func adviseTransport(ref string) string {
	for prefix, here := range transports {
		if rest, is := strings.CutPrefix(ref, prefix); is && here != "" {
			return "write " + here + rest
		} else if is {
			return "save it there to a file, and write archive:FILE"
		}
	}
	return ""
}
