package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/snapshot"
)

// setLabel records a finding about a label. If the request asks for repairs, it
// sets the label.
func (v *verifier) setLabel(ctx context.Context, f Finding, blob digest.Digest, label, value string) error {
	i := v.add(f)
	if !v.Repair {
		return nil
	}
	if err := content.SetLabels(ctx, v.engine.Client.ContentStore(), blob, map[string]string{label: value}); err != nil {
		return err
	}
	v.repaired(i)
	return nil
}

// discard removes a damaged layer blob, if the request asks for repairs. A pull
// does not fetch a blob that is stored, so a damaged one must go first. The blob is
// read a second time before, in case the first error was a passing one.
func (v *verifier) discard(ctx context.Context, desc ocispec.Descriptor, cause error) error {
	if !v.Repair || !errors.Is(cause, content.ErrCorrupt) {
		return ctx.Err()
	}
	if err := v.blob(ctx, desc); !errors.Is(err, content.ErrCorrupt) {
		return ctx.Err()
	}
	if err := v.engine.Client.ContentStore().Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove damaged blob %s: %w", desc.Digest, err)
	}
	v.mu.Lock()
	v.removed = true
	v.mu.Unlock()
	v.add(Finding{
		Severity: SeverityWarning, Check: CheckRepair, Object: desc.Digest,
		Message: "the damaged blob was removed; pull or load the image again to have it", Cause: &fault.Error{Kind: ErrLayerGone, Ref: v.res.Image},
	})
	return nil
}

// repair replaces the snapshots from the lowest wrong one upwards. If the files are
// right afterwards, it marks the findings as repaired.
func (s *snapshotCheck) repair(ctx context.Context, findings []int) error {
	if e := s.img.Encryption(); s.indexes == nil && e.Any() {
		return s.refuse(fmt.Errorf("%s, so what it should hold cannot be known here", e))
	}
	if s.indexes == nil {
		return s.refuse(&fault.Error{Kind: ErrLayersAbsent, Ref: s.img.Name})
	}
	if err := s.engine.Unpacks(); err != nil {
		return s.refuse(err)
	}
	from, err := s.lowestWrong(ctx)
	if err != nil {
		return err
	}
	wrong := s.chain[from:]
	users, err := snapshot.Users(ctx, s.snapshots(), wrong)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return s.refuse(s.inUse(ctx, users))
	}
	s.steps.Begin(progress.Step{Kind: "repair", Platform: s.platform})
	if err := snapshot.RemoveChain(ctx, s.snapshots(), wrong); err != nil {
		return err
	}
	unpacker := snapshot.Unpacker{Client: s.engine.Client, Snapshotter: s.engine.Snapshotter, Host: s.engine, Steps: s.steps}
	if _, err := unpacker.Unpack(ctx, s.img); err != nil {
		return fmt.Errorf("unpack again: %w", err)
	}
	left, err := s.compare(ctx, len(s.chain)-1, firstOnly)
	if err != nil {
		return err
	}
	if left.total > 0 {
		return s.refuse(fmt.Errorf("it was, and the files differ again: %s", left.list[0].Path))
	}
	for _, i := range findings {
		s.repaired(i)
	}
	return nil
}

// refuse records why the snapshot is not replaced.
func (s *snapshotCheck) refuse(why error) error {
	s.add(Finding{
		Severity: SeverityError, Check: CheckRepair, Platform: s.platform, Object: s.img.ChainID,
		Message: "the snapshot is not replaced: " + why.Error(), Cause: why,
	})
	return nil
}

// lowestWrong returns the position in the chain of the lowest snapshot whose files
// are wrong. All snapshots above it are wrong too.
func (s *snapshotCheck) lowestWrong(ctx context.Context) (int, error) {
	for i := len(s.chain) - 1; i > 0; i-- {
		ok, err := snapshot.Exists(ctx, s.snapshots(), s.chain[i-1].String())
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		below, err := s.compare(ctx, i-1, firstOnly)
		if errors.Is(err, tree.ErrOverlayFeature) || errors.Is(err, snapshot.ErrGone) || err == nil && below.total > 0 {
			continue
		}
		return i, err
	}
	return 0, nil
}

// inUse names what lies upon snapshots.
func (s *snapshotCheck) inUse(ctx context.Context, users []snapshot.User) error {
	containers := map[string]string{}
	// The embedded engine has no containers. If a daemon cannot list them, the
	// message names snapshots instead.
	if list, err := s.engine.Client.ContainerService().List(ctx); err == nil {
		for _, c := range list {
			if c.Snapshotter == s.engine.Snapshotter {
				containers[c.SnapshotKey] = c.ID
			}
		}
	}
	const most = 5
	var parts []error
	for i, u := range users {
		if i == most {
			parts = append(parts, fmt.Errorf("%d more", len(users)-most))
			break
		}
		switch id, ok := containers[u.Name]; {
		case ok:
			parts = append(parts, fmt.Errorf("container %s uses it (remove that first, and repair then)", id))
		case !u.Committed:
			parts = append(parts, fmt.Errorf("snapshot %s is in use on it (remove that first, and repair then)", u.Name))
		default:
			parts = append(parts, s.imageOn(ctx, u.Name))
		}
	}
	err := parts[0]
	for _, more := range parts[1:] {
		err = fmt.Errorf("%w, %w", err, more)
	}
	return err
}

// imageOn names the image that a committed snapshot belongs to. What cannot
// be read of other images is left out: this only serves a message.
func (s *snapshotCheck) imageOn(ctx context.Context, name string) error {
	records, err := s.engine.Client.ImageService().List(ctx)
	if err != nil {
		records = nil
	}
	store := s.engine.Client.ContentStore()
	for _, record := range records {
		for _, img := range content.ReadableImages(ctx, store, record.Target) {
			if slices.Contains(chainIDs(img.DiffIDs), digest.Digest(name)) {
				return &fault.Error{Kind: ErrImageOn, Ref: record.Name, Err: fmt.Errorf("image %s lies on it", record.Name)}
			}
		}
	}
	return &fault.Error{Kind: ErrSnapshotOn, Ref: name, Err: fmt.Errorf("snapshot %s, of no image that is here, lies on it", name)}
}
