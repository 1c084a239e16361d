package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/words"
	"github.com/veneer-build/veneer/snapshot"
)

// maxDifferences bounds the findings about one snapshot's files. Further ones are
// only counted.
const maxDifferences = 1000

// snapshotCheck compares one image's snapshot with the files that its layers make.
type snapshotCheck struct {
	*verifier
	img      *content.Image
	platform string
	// indexes are those of the layers, as just read from their blobs. They are nil
	// unless all layers are stored and good.
	indexes []*index.Index
	// chain are the chain IDs, the bottom layer's first.
	chain []digest.Digest
	// divergence is set if containerd's snapshotters show different files for these
	// layers.
	divergence *index.Divergence
}

func (s *snapshotCheck) snapshots() snapshots.Snapshotter {
	return s.engine.Client.SnapshotService(s.engine.Snapshotter)
}

// exists derives the chain IDs and reports whether the image is unpacked.
func (s *snapshotCheck) exists(ctx context.Context) (bool, error) {
	if s.chain = chainIDs(s.img.DiffIDs); len(s.chain) == 0 {
		return false, nil
	}
	if s.snapshots() == nil {
		// The embedded engine also opens for users who may not use its snapshotters.
		s.add(s.finding(SeverityNote, CheckSnapshot, "not checked: snapshotter %s does not work here", s.engine.Snapshotter))
		s.chain = nil
		return false, nil
	}
	_, err := s.snapshots().Stat(ctx, s.img.ChainID.String())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for snapshot %s: %w", s.img.ChainID, err)
	}
	return true, nil
}

// chainIDs derives the chain IDs of layers, the bottom layer's first.
func chainIDs(diffIDs []digest.Digest) []digest.Digest {
	var chain []digest.Digest
	var parent digest.Digest
	for _, id := range diffIDs {
		parent = snapshot.ChainID(parent, id)
		chain = append(chain, parent)
	}
	return chain
}

func (s *snapshotCheck) finding(severity Severity, check Check, format string, args ...any) Finding {
	return Finding{Severity: severity, Check: check, Platform: s.platform, Object: s.img.ChainID, Message: fmt.Sprintf(format, args...)}
}

// run checks the label, the chain and the files.
func (s *snapshotCheck) run(ctx context.Context, unpacked bool) error {
	if len(s.chain) == 0 {
		return nil
	}
	info, err := s.engine.Client.ContentStore().Info(ctx, s.img.ConfigDesc.Digest)
	if err != nil {
		return fmt.Errorf("read labels of config %s: %w", s.img.ConfigDesc.Digest, err)
	}
	s.otherSnapshotters(info)
	label := content.SnapshotLabel(s.engine.Snapshotter)
	if !unpacked {
		if info.Labels[label] == "" {
			return nil
		}
		i := s.add(s.finding(SeverityError, CheckSnapshot, "it is gone, though label %s of config %s names %s; the image has to be unpacked again", label, s.img.ConfigDesc.Digest, info.Labels[label]))
		if s.Repair {
			return s.repair(ctx, []int{i})
		}
		return nil
	}
	if err := s.label(ctx, info, label); err != nil {
		return err
	}
	findings, err := s.parents(ctx)
	if err != nil {
		return err
	}
	found, err := s.files(ctx)
	if err != nil {
		return err
	}
	if findings = append(findings, found...); len(findings) > 0 && s.Repair {
		// If this process sees other owners than the daemon, the differences may be
		// just that.
		if err := s.engine.SharesOwners(ctx); err != nil {
			return s.refuse(err)
		}
		return s.repair(ctx, findings)
	}
	return nil
}

// otherSnapshotters notes on which other snapshotters the image is unpacked.
func (s *snapshotCheck) otherSnapshotters(config cstore.Info) {
	for _, k := range slices.Sorted(maps.Keys(config.Labels)) {
		name, ok := strings.CutPrefix(k, content.SnapshotLabel(""))
		if name, _, _ = strings.Cut(name, "/"); ok && name != "" && name != s.engine.Snapshotter {
			f := s.finding(SeverityNote, CheckSnapshot, "not checked: the image is unpacked for snapshotter %s as well", name)
			f.Cause = &fault.Error{Kind: ErrOtherSnapshotter, Ref: name}
			s.add(f)
		}
	}
}

// label checks that a label keeps the snapshot from being removed. Images with the
// same layers share a snapshot, and then the label on one of their configs is
// enough.
func (s *snapshotCheck) label(ctx context.Context, config cstore.Info, label string) error {
	want := s.img.ChainID.String()
	got := config.Labels[label]
	f := s.finding(SeverityError, CheckLabel, "%s is missing: garbage collection would remove snapshot %s", label, want)
	f.Object = s.img.ConfigDesc.Digest
	switch {
	case got == want:
		return nil
	case got != "":
		f.Message = fmt.Sprintf("%s names %s, but the snapshot is %s", label, got, want)
	default:
		kept := false
		err := s.engine.Client.ContentStore().Walk(ctx, func(cstore.Info) error {
			kept = true
			return nil
		}, fmt.Sprintf("labels.%q==%q", label, want))
		if err != nil {
			return fmt.Errorf("look for what keeps snapshot %s: %w", want, err)
		}
		if kept {
			return nil
		}
		users, err := snapshot.Users(ctx, s.snapshots(), []digest.Digest{s.img.ChainID})
		if err != nil {
			return err
		}
		if len(users) > 0 {
			f.Severity = SeverityWarning
			f.Message = fmt.Sprintf("%s is missing: only what lies on snapshot %s keeps it", label, want)
		}
	}
	return s.setLabel(ctx, f, s.img.ConfigDesc.Digest, label, want)
}

// parents checks that each snapshot of the chain is committed, and that its parent
// is the one before it.
func (s *snapshotCheck) parents(ctx context.Context) (findings []int, _ error) {
	for i, id := range s.chain {
		want := ""
		if i > 0 {
			want = s.chain[i-1].String()
		}
		info, err := s.snapshots().Stat(ctx, id.String())
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("look for snapshot %s: %w", id, err)
		}
		f := s.finding(SeverityError, CheckSnapshot, "")
		f.Object = id
		switch {
		case err != nil:
			f.Message = fmt.Sprintf("layer %d of %d has no snapshot", i+1, len(s.chain))
		case info.Kind != snapshots.KindCommitted:
			f.Message = fmt.Sprintf("it is %s, not committed", info.Kind)
		case info.Parent != want:
			f.Message = fmt.Sprintf("its parent is %q, not %q", info.Parent, want)
		default:
			continue
		}
		findings = append(findings, s.add(f))
	}
	return findings, nil
}

// files compares the snapshot with the layers. It returns the numbers of the
// findings that it adds.
func (s *snapshotCheck) files(ctx context.Context) ([]int, error) {
	if e := s.img.Encryption(); s.indexes == nil && e.Any() {
		s.add(s.finding(SeverityNote, CheckFiles, "not checked: of the layers that the snapshot was made of, %d of %d %s encrypted", e.Encrypted, len(s.img.Layers), words.Pick(e.Encrypted, "is", "are")))
		return nil, nil
	}
	if s.indexes == nil {
		s.add(s.finding(SeverityNote, CheckFiles, "not checked: the layers that the snapshot was made of are not all here, or damaged"))
		return nil, nil
	}
	diffs, err := s.compare(ctx, len(s.chain)-1, maxDifferences)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, snapshot.ErrGone) {
		return []int{s.add(s.finding(SeverityError, CheckFiles, "no container can have them: %v", err))}, nil
	}
	if err != nil {
		s.add(s.finding(SeverityNote, CheckFiles, "not checked: %v", err))
		return nil, nil
	}
	p := &s.res.Platforms[len(s.res.Platforms)-1]
	p.Compared, p.Files = true, diffs.files
	if s.divergence != nil {
		s.add(s.finding(SeverityWarning, CheckFiles, "%s", s.divergence))
	}
	var findings []int
	for _, d := range diffs.list {
		f := s.finding(SeverityError, CheckFiles, "%s", d)
		f.Path = "/" + d.Path
		if d.Aspect == differ.AspectTime && d.Type == unix.S_IFDIR {
			f.Severity = SeverityWarning
		}
		findings = append(findings, s.add(f))
	}
	if more := diffs.total - len(diffs.list); more > 0 {
		findings = append(findings, s.add(s.finding(SeverityError, CheckFiles, "and %s", words.Count(more, "more difference", "more differences"))))
	}
	return findings, nil
}
