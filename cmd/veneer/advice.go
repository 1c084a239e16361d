package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/veneer-build/veneer"
)

// advice is what to do about an error, in terms of flags and commands. The
// library names none of them: what it returns is told apart by its kind.
type advice struct {
	kind error
	// text may have {ref} and {path} in it, which the error has.
	text string
	// by says it where it depends on the error; empty: nothing.
	by func(*veneer.Error) string
}

// advices are given in this order.
var advices = []advice{
	// The engine.
	{kind: veneer.ErrNotReplaced, by: func(e *veneer.Error) string {
		return fmt.Sprintf("it comes from --%s or CONTAINERD_%s", e.Ref, strings.ToUpper(e.Ref))
	}},
	{kind: veneer.ErrUnreachable, by: adviseUnreachable},
	{kind: veneer.ErrRoot, by: adviseRoot},
	{kind: veneer.ErrNoRoot, text: "choose one with --root"},
	{kind: veneer.ErrNoSnapshotter, text: "choose one with --snapshotter"},
	{kind: veneer.ErrNeedsRoot, text: "use --no-unpack, or a containerd's socket (--engine=containerd)"},
	{kind: veneer.ErrNotRoot, by: func(e *veneer.Error) string {
		if e.Op == "export to" {
			return "run as root (sudo), or write a tar with -o FILE"
		}
		return "run as root (sudo)"
	}},
	{kind: veneer.ErrSnapshotterUnusable, by: func(e *veneer.Error) string {
		if e.Ref == "overlayfs" {
			return "use --snapshotter=native, another --root, or --no-unpack"
		}
		return "use another --snapshotter, another --root, or --no-unpack"
	}},
	{kind: veneer.ErrEmbedded, text: "use --engine=containerd"},
	{kind: veneer.ErrSnapshotterDead, by: adviseDead("start that, or use another --snapshotter")},
	{kind: veneer.ErrDisconnected, by: adviseDead("try again when it runs")},
	{kind: veneer.ErrOtherOwners, text: "to be there, use nsenter -U -m -t {ref}"},
	{kind: veneer.ErrCannotMount, by: func(e *veneer.Error) string {
		if e.Op == "mount" {
			return "run it where containerd runs, use another --snapshotter, or veneer export " + e.Ref + " -o DIR/"
		}
		return "use --reader=index and --differ=veneer, which mount nothing, or another --snapshotter"
	}},
	{kind: veneer.ErrForeign, by: adviseForeign},
	{kind: veneer.ErrLeftBehind, text: "veneer prune removes it"},

	// Images.
	{kind: veneer.ErrOtherNamespace, text: "choose that with --namespace"},
	{kind: veneer.ErrNoImage, by: func(e *veneer.Error) string {
		if e.Ref == "" || errors.Is(e.Kind, veneer.ErrOtherNamespace) {
			return "" // A digest cannot be pulled, and what is here need not be.
		}
		if what := adviseTransport(e.Ref); what != "" {
			return what
		}
		return "get it with veneer pull " + e.Ref + " or veneer load FILE"
	}},
	{kind: veneer.ErrNoBase, text: "use --from NAME, or --from scratch"},
	{kind: veneer.ErrPlatform, text: "choose another with --platform"},
	{kind: veneer.ErrPlatformAbsent, by: func(e *veneer.Error) string {
		if e.Ref == "" {
			return "pull it with that --platform"
		}
		return "get it with veneer pull --all-platforms " + e.Ref
	}},
	{kind: veneer.ErrOnePlatform, text: "build with that one --platform, or on an image that has several"},
	{kind: veneer.ErrInUse, text: "remove that first, or use --force"},
	{kind: veneer.ErrMounted, text: "veneer unmount {path} first, or use --force: the mount goes on then"},
	{kind: veneer.ErrMountBusy, by: adviseBusy},
	{kind: veneer.ErrMountedOn, text: "veneer mount and findmnt {path} tell what; choose another directory, or unmount that"},
	{kind: veneer.ErrNotMounted, text: "veneer mount lists what is mounted, with the same --engine, --namespace or --root"},
	{kind: veneer.ErrMountUnseen, text: "--force forgets it"},
	{kind: veneer.ErrUnnamed, text: "use -t NAME to keep it"},
	{kind: veneer.ErrNoAnnotations, text: "leave --annotation out, or use labels (-c 'LABEL …')"},
	{kind: veneer.ErrNoZstd, text: "use --compression gzip"},
	{kind: veneer.ErrExposes, text: "use --allow-encrypted if that is meant"},
	{kind: veneer.ErrNoKeys, text: "without, --no-unpack stores the image"},
	{kind: veneer.ErrNoLower, text: "say with --onto which image it is"},
	{kind: veneer.ErrNotLower, text: "veneer delta makes one image of any two"},
	{kind: veneer.ErrNotConfig, by: adviseInstruction},

	// Dockerfiles.
	{kind: veneer.ErrNotAllowed, text: "allow it with --allow {ref}"},
	{kind: veneer.ErrNoSecret, text: "give it with --secret id={ref},src=FILE"},
	{kind: veneer.ErrNoAgent, text: "give it with --ssh {ref}"},
	{kind: veneer.ErrNoContext, text: "give one with --build-context {ref}=DIRECTORY"},
	{kind: veneer.ErrNoGit, text: "install it, or fetch {ref} elsewhere and use the directory"},

	// Files.
	{kind: veneer.ErrService, text: "leave out --differ=service"},
	{kind: veneer.ErrDeletes, text: "use --copy to keep them, or --force-delete if that is what you want"},
	{kind: veneer.ErrNotDir, text: "--delete it first, or use --sync"},
	{kind: veneer.ErrNoSource, text: "make it first, or correct the path"},
	{kind: veneer.ErrNotEmpty, text: "empty it, or use another one"},
	{kind: veneer.ErrBaseChanged, text: "unpack the base again when nothing writes to its snapshot"},
	{kind: veneer.ErrArchiveAsFile, text: "the files in it would be with --{ref} type=tar,src={path},dest=/ (type=dir says that it is meant so)"},

	// Containers.
	{kind: veneer.ErrNoContainer, text: "`ctr -n NAMESPACE containers ls` lists them, and --namespace chooses (nerdctl: default, Kubernetes: k8s.io)"},
	{kind: veneer.ErrContainerImage, text: "name the image to commit onto with --from; the result shows the container's files on any"},
	{kind: veneer.ErrNoSnapshot, text: "use that with --sync DIR:/"},
	{kind: veneer.ErrNotPaused, text: "--pause=false reads it while it runs"},
	{kind: veneer.ErrNotRenewable, text: "make it anew, as with --exec"},
	{kind: veneer.ErrNotUnpacked, text: "use --snapshotter {ref}"},
	{kind: veneer.ErrNotResumed, text: "it may be paused: veneer prune or `ctr task resume {ref}` lets it go on"},

	// Archives and registries.
	{kind: veneer.ErrNotImage, text: "files alone become an image with veneer import FILE NAME"},
	{kind: veneer.ErrSeveral, text: "leave -t out, or choose one with --image"},
	{kind: veneer.ErrSeveralNameless, text: "choose one with --image, and give it a name with -t"},
	{kind: veneer.ErrNoName, text: "give one with -t"},
	{kind: veneer.ErrNeedsBase, text: "veneer pull {ref}"},
	{kind: veneer.ErrNotRebuilt, text: "load the whole image (veneer save without --delta) or pull it, which brings the layer {ref}; or make another image of the same files with --allow-recompress"},
	{kind: veneer.ErrSourceDiffers, text: "veneer verify --repair {ref} checks it and unpacks it again; or load the whole image"},
	{kind: veneer.ErrIncomplete, text: "pull its base again, or leave out with --since BASE what the reader has"},
	{kind: veneer.ErrDenied, text: "veneer login {ref}"},
	{kind: veneer.ErrRateLimit, text: "veneer login {ref} raises the limit on some"},
	{kind: veneer.ErrCredentials, text: "veneer login {ref} stores others"},
	{kind: veneer.ErrPlainHTTP, text: "allow it with --plain-http, or for good by server = \"http://{ref}\" in /etc/containerd/certs.d/{ref}/hosts.toml"},
	{kind: veneer.ErrNoFiles, text: "veneer pull {ref} brings them again"},
	{kind: veneer.ErrUnknownCompressor, text: "veneer load takes it with --allow-recompress only; without --delta the layers travel as they are"},
	{kind: veneer.ErrForeignLayer, text: "allow it to be fetched from there with --foreign-layers"},
	{kind: veneer.ErrElsewhere, text: "try again when that answers, or veneer pull the image from a registry that has the layer"},
	{kind: veneer.ErrOtherContent, text: "try again; if it stays so, what is stored there is damaged, or a proxy changes it: push the image there again"},
	{kind: veneer.ErrLacks, text: "veneer pull the base image first; of a multi-platform image, push one with --platform"},

	// What veneer verify finds.
	{kind: veneer.ErrDocument, text: "remove the image (veneer rmi, veneer prune) and pull or load it again"},
	{kind: veneer.ErrBlob, text: "--repair removes it, and then veneer pull brings it again"},
	{kind: veneer.ErrLayerGone, text: "veneer pull {ref}"},
	{kind: veneer.ErrLayersAbsent, text: "veneer pull {ref}, and repair then"},
	{kind: veneer.ErrImageOn, text: "veneer verify --repair {ref} makes the snapshots of both again"},
	{kind: veneer.ErrSnapshotOn, text: "veneer prune removes it, if nothing keeps it"},
	{kind: veneer.ErrOtherSnapshotter, text: "see there with --snapshotter {ref}"},
}

// on is the advice for an error of the kind.
func (a advice) on(e *veneer.Error) string {
	if a.by != nil {
		return a.by(e)
	}
	return strings.NewReplacer("{ref}", e.Ref, "{path}", e.Path).Replace(a.text)
}

// adviseDead is for an engine that died in the middle: what to do, and how what it could
// not clean up goes away, unless the advice for what is known to be left says that.
func adviseDead(text string) func(*veneer.Error) string {
	return func(e *veneer.Error) string {
		if errors.Is(e.Err, veneer.ErrLeftBehind) {
			return text
		}
		return text + "; veneer prune removes what this left"
	}
}

func adviseUnreachable(e *veneer.Error) string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "run as root (sudo), join the group that owns the socket, or use --engine=embedded"
	}
	return "start containerd, name its socket with --address, or use --engine=embedded"
}

func adviseRoot(e *veneer.Error) string {
	switch err := e.Err; {
	case errors.Is(err, veneer.ErrFormat):
		return "use that version, or another --root"
	case errors.Is(err, veneer.ErrForeign):
		return "choose another with --root, as a new directory of your own, or take the right to write away from others (chmod go-w) if none has used it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "choose a directory you may write to with --root, or run as its owner"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space there, or choose another directory with --root"
	case errors.Is(err, syscall.ENOTDIR):
		return "choose a directory with --root"
	}
	return ""
}

// adviseForeign is for places alone; of the engine's directory adviseRoot knows more.
func adviseForeign(e *veneer.Error) string {
	switch {
	case e.Op == "mount on":
		return "choose a directory of root's, below others of root's, as in /srv"
	case e.Op != "":
		return "choose a directory of your own that nobody else may enter (chmod 700)"
	}
	return ""
}

func adviseBusy(e *veneer.Error) string {
	if e.Op != "unmount" {
		return "wait for it, or choose another directory"
	}
	if e.Err.Error() != veneer.ErrMountBusy.Error() {
		return "end that first"
	}
	return "end what uses it, which fuser -vm " + e.Path + " lists"
}

func adviseInstruction(e *veneer.Error) string {
	switch e.Ref {
	case "RUN":
		return "run the command elsewhere and take its files with --sync"
	case "COPY":
		return "use --copy SRC:DEST"
	case "ADD":
		return "use --copy SRC:DEST, or --copy type=tar,src=FILE,dest=PATH for an archive"
	case "FROM":
		return "use --from IMAGE"
	}
	return ""
}

// advised is an error's text with what to do about it at its end, and of
// several errors at the end of each.
func advised(err error) string {
	if parts := joined(err); parts != nil {
		var texts []string
		for _, part := range parts {
			texts = append(texts, advised(part))
		}
		return strings.Join(texts, "\n")
	}
	if errors.As(err, new(*usageError)) {
		return err.Error() // It has the advice in it.
	}
	return withAdvice(err.Error(), err)
}

// adviseNotices adds to the texts of notices what to do about them.
func adviseNotices(list []veneer.Notice) {
	for i := range list {
		list[i].Text = withAdvice(list[i].Text, list[i].Cause)
	}
}

// adviseResult adds to what a result says what to do about it.
func adviseResult(res *veneer.Result) {
	adviseNotices(res.Warnings)
	adviseNotices(res.Notes)
	for _, image := range res.Manifests {
		adviseResult(image)
	}
}

// withAdvice is a text about an error with what to do about it.
func withAdvice(text string, err error) string {
	for _, what := range adviceOn(err) {
		if !strings.Contains(text, what) {
			text += "; " + what
		}
	}
	return text
}

// joined are the parts of an error of errors.Join, whose text is theirs.
func joined(err error) []error {
	parts, ok := err.(interface{ Unwrap() []error })
	if !ok || len(parts.Unwrap()) < 2 {
		return nil
	}
	var texts []string
	for _, part := range parts.Unwrap() {
		texts = append(texts, part.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return nil
	}
	return parts.Unwrap()
}

// adviceOn is all that there is to be done about an error.
func adviceOn(err error) []string {
	var list []string
	all := veneer.Errors(err)
	for _, a := range advices {
		if !errors.Is(err, a.kind) {
			continue
		}
		found := false
		for _, e := range all {
			if errors.Is(e.Kind, a.kind) {
				found = true
				list = append(list, a.on(e))
			}
		}
		if !found {
			list = append(list, a.on(&veneer.Error{Kind: a.kind}))
		}
	}
	return list
}
