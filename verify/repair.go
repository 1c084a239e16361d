package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
		Message: fmt.Sprintf("the damaged blob was removed; get it again with veneer pull %s, or load the image again", v.res.Image),
	})
	return nil
}

// repair replaces the snapshots from the lowest wrong one upwards. If the files are
// right afterwards, it marks the findings as repaired.
func (s *snapshotCheck) repair(ctx context.Context, findings []int) error {
	if e := s.img.Encryption(); s.indexes == nil && e.Any() {
		return s.refuse("%s, so what it should hold cannot be known here", e)
	}
	if s.indexes == nil {
		return s.refuse("its layers are not all here, or damaged; veneer pull %s, and repair then", s.img.Name)
	}
	if err := s.engine.Unpacks(); err != nil {
		return s.refuse("%v", err)
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
		return s.refuse("%s", s.usersText(ctx, users))
	}
	s.steps.Begin(progress.Step{Kind: "repair", Platform: s.platform})
	if err := snapshot.RemoveChain(ctx, s.snapshots(), wrong); err != nil {
		return err
	}
	if _, err := snapshot.Unpack(ctx, s.engine.Client, s.img, s.engine.Snapshotter); err != nil {
		return fmt.Errorf("unpack again: %w", err)
	}
	left, err := s.compare(ctx, len(s.chain)-1, firstOnly)
	if err != nil {
		return err
	}
	if left.total > 0 {
		return s.refuse("it was, and the files differ again: %s", left.list[0].Path)
	}
	for _, i := range findings {
		s.repaired(i)
	}
	return nil
}

// refuse records why the snapshot is not replaced.
func (s *snapshotCheck) refuse(format string, args ...any) error {
	s.add(Finding{
		Severity: SeverityError, Check: CheckRepair, Platform: s.platform, Object: s.img.ChainID,
		Message: "the snapshot is not replaced: " + fmt.Sprintf(format, args...),
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

// usersText lists for a message what lies on top of snapshots, and what to do about
// it.
func (s *snapshotCheck) usersText(ctx context.Context, users []snapshot.User) string {
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
	var parts []string
	for i, u := range users {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(users)-most))
			break
		}
		switch id, ok := containers[u.Name]; {
		case ok:
			parts = append(parts, fmt.Sprintf("container %s uses it (remove that first, and repair then)", id))
		case !u.Committed:
			parts = append(parts, fmt.Sprintf("snapshot %s is in use on it (remove that first, and repair then)", u.Name))
		default:
			parts = append(parts, s.imageText(ctx, u.Name))
		}
	}
	return strings.Join(parts, ", ")
}

// imageText names the image that a committed snapshot belongs to. It skips images
// that cannot be read, since this is only for a message.
func (s *snapshotCheck) imageText(ctx context.Context, name string) string {
	records, err := s.engine.Client.ImageService().List(ctx)
	if err != nil {
		records = nil
	}
	store := s.engine.Client.ContentStore()
	for _, record := range records {
		docs, err := content.Documents(ctx, store, record.Target)
		if err != nil {
			continue
		}
		for _, doc := range docs {
			if doc.Err != nil || doc.IsIndex() || doc.Beside {
				continue
			}
			img, err := content.ResolveTarget(ctx, store, doc.Desc, "")
			if err == nil && slices.Contains(chainIDs(img.DiffIDs), digest.Digest(name)) {
				return fmt.Sprintf("image %s lies on it (veneer verify --repair %[1]s makes the snapshots of both again)", record.Name)
			}
		}
	}
	return fmt.Sprintf("snapshot %s, of no image that is here, lies on it (veneer prune removes it, if nothing keeps it)", name)
}
