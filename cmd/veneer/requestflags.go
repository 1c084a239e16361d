package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// baseFlags are the flags that build and diff share: the base, the targets, and how
// they are compared.
type baseFlags struct {
	from        string
	platform    string
	targets     []veneer.TargetSpec
	compare     enumValue
	reader      enumValue
	forceDelete bool
	noCache     bool
	// noCacheStages are those of --no-cache=STAGE.
	noCacheStages []string
	maxLayers     int
}

// noCacheValue is the flag --no-cache, which may name stages of a Dockerfile.
type noCacheValue struct {
	all    *bool
	stages *[]string
}

// Set implements [pflag.Value].
func (v *noCacheValue) Set(text string) error {
	if all, err := strconv.ParseBool(text); err == nil {
		*v.all = all
		return nil
	}
	for stage := range strings.SplitSeq(text, ",") {
		if stage == "" {
			return errors.New("want true, false, or stages of the Dockerfile")
		}
		*v.stages = append(*v.stages, stage)
	}
	return nil
}

func (v *noCacheValue) String() string { return "false" }

// Type implements [pflag.Value]; such a flag needs no value.
func (v *noCacheValue) Type() string { return "bool" }

func (f *baseFlags) bind(cmd *cobra.Command) {
	f.compare = newEnum(string(veneer.CompareContent), string(veneer.CompareContent), string(veneer.CompareMetadata))
	f.reader = newEnum("auto", "auto", "index", "view")
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "", "base `image`: a name, a digest, or \"scratch\"")
	platform := "`platform` of a multi-platform base, as in linux/arm64/v8%s (default the host's)"
	if cmd.Name() == "build" {
		platform = fmt.Sprintf(platform, "; several with commas between them; with --from also all")
	} else {
		platform = fmt.Sprintf(platform, "")
	}
	fs.StringVar(&f.platform, "platform", "", platform)
	fs.Var(&targetValue{veneer.OpCopy, &f.targets}, "copy", "add and replace files; what SRC lacks stays (repeatable)")
	fs.Var(&targetValue{veneer.OpSync, &f.targets}, "sync", "make DEST identical to SRC; what SRC lacks is deleted (repeatable)")
	fs.Var(&targetValue{veneer.OpDelete, &f.targets}, "delete", "delete a path of the image (repeatable)")
	fs.Var(&f.compare, "compare", "when two files are the same: content, or metadata to trust equal size and time")
	fs.Var(&f.reader, "reader", "how the base is read: auto, index (of its layers) or view (of its snapshot)")
	fs.BoolVar(&f.forceDelete, "force-delete", false, "let --sync SRC:/ delete files of the base")
	builds := cmd.Name() == "build" || cmd.Name() == "watch"
	if !builds {
		fs.BoolVar(&f.noCache, "no-cache", false, "neither use nor keep indexes of layers and digests of source files")
	} else {
		fs.Var(&noCacheValue{&f.noCache, &f.noCacheStages}, "no-cache", "do all steps of a Dockerfile again, or those of a stage with --no-cache=STAGE; with --from neither use nor keep indexes of layers and digests of source files")
		fs.Lookup("no-cache").NoOptDefVal = "true"
		fs.IntVar(&f.maxLayers, "max-layers", veneer.DefaultMaxLayers, "squash what Veneer put upon the original base where the base, or the image of --onto, has this `number` of layers; 0: never")
	}
	if !builds {
		if err := cmd.MarkFlagRequired("from"); err != nil {
			panic(err) // There is no such flag.
		}
	}
	completeWords(cmd, map[string][]string{"compare": f.compare.allowed, "reader": f.reader.allowed})
}

// request fills in what the flags say.
func (f *baseFlags) request(r *veneer.BuildRequest) error {
	if f.from != veneer.Scratch {
		if err := checkRef(f.from); err != nil {
			return err
		}
	}
	if len(f.noCacheStages) > 0 {
		return usagef("--no-cache=%s: --from builds without a Dockerfile, and has no stages: use --no-cache", strings.Join(f.noCacheStages, ","))
	}
	var err error
	if r.Platform, r.Platforms, err = parsePlatforms(f.platform); err != nil {
		return err
	}
	r.Base, r.Targets = f.from, f.targets
	r.Compare = veneer.CompareMode(f.compare.value)
	if f.reader.value != "auto" {
		r.Reader = veneer.ReaderKind(f.reader.value)
	}
	r.ForceDelete, r.NoCache = f.forceDelete, f.noCache
	r.MaxLayers, err = f.layersLimit()
	return err
}

// layersLimit is what a request has for --max-layers.
func (f *baseFlags) layersLimit() (int, error) {
	if f.maxLayers < 0 {
		return 0, usagef("--max-layers %d: want a number from 0", f.maxLayers)
	}
	if f.maxLayers == 0 {
		return -1, nil
	}
	return f.maxLayers, nil
}

// imageFlags are the flags that describe the new image.
type imageFlags struct {
	tags        []string
	edit        veneer.ConfigEdit // Changes are in changes.
	changes     []change
	annotations []string
	compression enumValue
	level       int
	noUnpack    bool
	differ      enumValue
	epoch       string
	encrypted   bool
	pin         bool
}

func (f *imageFlags) bind(cmd *cobra.Command) {
	f.compression = newEnum(string(veneer.Gzip), string(veneer.Gzip), string(veneer.Zstd), string(veneer.Uncompressed))
	f.differ = newEnum("veneer", "veneer", string(veneer.DifferService))
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "`name` for the result (repeatable)")
	fs.BoolVar(&f.pin, "pin", false, "pin the result's names, so that a kubelet's garbage collection leaves the image alone")
	f.bindChanges(fs)
	fs.StringArrayVar(&f.edit.Unset, "unset", nil, "remove a `field` of the config, before --change: env=NAME, label=NAME, cmd, … (repeatable)")
	fs.StringVar(&f.edit.Author, "author", "", "author of the image")
	fs.StringVarP(&f.edit.Message, "message", "m", "", "`comment` in the image's history")
	fs.StringArrayVar(&f.annotations, "annotation", nil, "annotation of the manifest, `KEY=VALUE` (repeatable)")
	fs.Var(&f.compression, "compression", "of the layer: gzip, zstd or none")
	fs.IntVar(&f.level, "compression-level", 0, "gzip 1 to 9, zstd 1 to 22; 0 is the default of either")
	fs.BoolVar(&f.noUnpack, "no-unpack", false, "make the image, but no snapshot of it")
	fs.Var(&f.differ, "differ", "who makes the layer: veneer, or service for containerd's diff service")
	fs.BoolVar(&f.encrypted, "allow-encrypted", false, "let the layer, which everybody can read, be put upon encrypted ones, or be made of their files")
	fs.StringVar(&f.epoch, "source-date-epoch", "", "creation time, and limit to all times in the layer, in `seconds` since 1970 ($SOURCE_DATE_EPOCH)")
	completeWords(cmd, map[string][]string{"compression": f.compression.allowed, "differ": f.differ.allowed})
}

// bindAlone is bind for commands whose layers only Veneer can make: it hides
// --differ.
func (f *imageFlags) bindAlone(cmd *cobra.Command) {
	f.bind(cmd)
	if err := cmd.Flags().MarkHidden("differ"); err != nil {
		panic(err) // There is no such flag.
	}
}

// request fills in what the flags and the environment say.
func (f *imageFlags) request(r *veneer.ImageOptions, l *veneer.LayerOptions, getenv func(string) (string, bool)) error {
	if err := checkTags(f.tags); err != nil {
		return err
	}
	if f.pin && len(f.tags) == 0 {
		return usagef("--pin pins a name: give one with -t NAME")
	}
	var err error
	edit := f.edit
	if edit.Changes, err = instructions(f.changes, getenv); err != nil {
		return err
	}
	if err := edit.Validate(); err != nil {
		return asUsage(err)
	}
	if r.Annotations, err = parseAnnotations(f.annotations); err != nil {
		return err
	}
	l.Compression, l.CompressionLevel = veneer.Compression(f.compression.value), f.level
	if err := l.Compression.Check(f.level); err != nil {
		return asUsage(err)
	}
	epoch, _ := getenv("SOURCE_DATE_EPOCH")
	if l.Epoch, err = parseEpoch(f.epoch, epoch); err != nil {
		return err
	}
	r.Tags, r.Config, r.NoUnpack, r.AllowEncrypted, r.Pin = f.tags, edit, f.noUnpack, f.encrypted, f.pin
	return nil
}

// differKind returns what --differ says: who makes the layer.
func (f *imageFlags) differKind() (veneer.DifferKind, error) {
	if f.differ.value != string(veneer.DifferService) {
		return veneer.DifferVeneer, nil
	}
	if f.noUnpack {
		return "", usagef("--differ service makes the layer from the snapshot that --no-unpack leaves out: choose one of them")
	}
	return veneer.DifferService, nil
}

// parsePlatforms splits --platform: one platform, or several, or all of them.
func parsePlatforms(text string) (one string, several []string, _ error) {
	if text != veneer.AllPlatforms && !strings.Contains(text, ",") {
		return text, nil, checkPlatform(text)
	}
	for p := range strings.SplitSeq(text, ",") {
		if p = strings.TrimSpace(p); p == "" {
			return "", nil, usagef("--platform %s: an empty name between the commas", text)
		}
		if p == veneer.AllPlatforms && text != veneer.AllPlatforms {
			return "", nil, usagef("--platform %s: all is all of them, and goes with no other", text)
		}
		if p != veneer.AllPlatforms {
			if err := checkPlatform(p); err != nil {
				return "", nil, err
			}
		}
		several = append(several, p)
	}
	return "", several, nil
}

func parseAnnotations(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, kv := range list {
		key, value, found := strings.Cut(kv, "=")
		if !found || key == "" {
			return nil, usagef("--annotation %s: want KEY=VALUE", kv)
		}
		// docker build has these words before a key.
		kind, rest, found := strings.Cut(key, ":")
		kind, _, _ = strings.Cut(kind, "[")
		switch {
		case !found:
		case key == "manifest:"+rest && rest != "":
			key = rest
		case kind == "manifest" || kind == "index" || kind == "manifest-descriptor" || kind == "index-descriptor":
			return nil, usagef("--annotation %s: use KEY=VALUE for the manifest, of each platform, and index:KEY=VALUE for the index of a Dockerfile's build for several", kv)
		}
		m[key] = value
	}
	return m, nil
}

// takeIndex takes the annotations of an index from the list.
func takeIndex(list []string) (rest, index []string) {
	for _, kv := range list {
		if of, found := strings.CutPrefix(kv, "index:"); found {
			index = append(index, of)
		} else {
			rest = append(rest, kv)
		}
	}
	return rest, index
}

// parseEpoch returns the time of the flag, else of the environment, else nil.
func parseEpoch(flag, env string) (*time.Time, error) {
	text, name := flag, "--source-date-epoch"
	if text == "" {
		text, name = env, "SOURCE_DATE_EPOCH"
	}
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	// The image's time is written as RFC 3339, where years have four digits.
	const lastSecond = 253402300799
	if err == nil && (seconds < 0 || seconds > lastSecond) {
		err = fmt.Errorf("want 0 to %d", int64(lastSecond))
	}
	if err != nil {
		if errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
			err = errors.New("want whole seconds since 1970")
		}
		return nil, usagef("%s=%s: %w", name, text, err)
	}
	t := time.Unix(seconds, 0).UTC()
	return &t, nil
}
