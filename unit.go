package veneer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	process "github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// UnitRequest says which image a service of systemd's is to run. Image, Instance, Mount
// and Unmount are required.
type UnitRequest struct {
	// Image is one of the engine.
	Image string
	// Platform chooses from a multi-platform image; empty: the host's.
	Platform string
	// Instance is what follows veneer@ in the name of the service.
	Instance string
	// Mount begins with the absolute path of a program that mounts an image, writable, if
	// an image's digest and a directory are added. Unmount is the same for
	// unmounting all that is below a directory.
	Mount, Unmount []string
	// Capabilities are those of the service, as in CAP_NET_BIND_SERVICE; empty: none.
	Capabilities []string
	Reports
}

// UnitFile are drop-ins for the unit veneer@.service, which runs an image, and for the one
// that mounts it.
type UnitFile struct {
	Instance string `json:"instance"`
	// Image is the image's name, and Digest its manifest's: that is what the service runs
	// until another drop-in is written.
	Image  string        `json:"image"`
	Digest digest.Digest `json:"digest"`
	// Release is the name by which [AddRelease] keeps the image.
	Release string `json:"release"`
	// Text is the drop-in for veneer@INSTANCE.service, and Mount that for
	// veneer-mount@INSTANCE.service.
	Text  string `json:"-"`
	Mount string `json:"-"`
	// Users are lines for sysusers.d, of the users and groups that systemd has to find on
	// the host; empty: it has them.
	Users string `json:"sysusers,omitempty"`
	// Warnings say what of the image's config systemd does not take.
	Warnings []Notice `json:"warnings,omitempty"`
}

// UnitMounts is the directory below which units mount their images.
const UnitMounts = "/run/veneer"

// releases begins the names of releases. Nobody can push to such a registry, or pull.
const releases = "unit.veneer.localhost/"

var instanceName = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// CheckInstance returns an error for what cannot be a [UnitRequest].Instance. It is part of
// a release's name, too.
func CheckInstance(name string) error {
	if !instanceName.MatchString(name) || len(name) > 100 {
		return fmt.Errorf("instance %q: it must be of small letters and digits, with a dot, a dash or an underscore between", name)
	}
	return nil
}

// Unit makes the drop-ins with which veneer@INSTANCE.service runs an image: command,
// environment, user, working directory, stop signal and volumes are those of
// the image's config. Users and programs are looked up in the image, since systemd would look on
// the host. The image is named by its digest, so that starting the service again never
// starts something else.
func Unit(ctx context.Context, e *engine.Engine, req UnitRequest) (*UnitFile, error) {
	if err := CheckInstance(req.Instance); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, &Error{Kind: ErrNotRoot, Op: "look into", Ref: req.Image}
	}
	var unit *UnitFile
	o := build.Options{AllowEncrypted: true, Steps: progress.New(req.Progress), Log: req.Log}
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		img, err := s.Base(ctx, req.Image, req.Platform)
		if err != nil {
			return err
		}
		w := &unitWriter{req: req, img: img, config: img.Config.Config}
		if w.id, err = identify(ctx, e, s, img); err != nil {
			return err
		}
		if err := w.write(); err != nil {
			return fmt.Errorf("write a unit for %s: %w", img.Name, err)
		}
		mount, err := w.mountText()
		if err != nil {
			return err
		}
		unit = &UnitFile{
			Instance: req.Instance, Image: img.Name, Digest: img.Manifest.Digest,
			Release: releaseName(req.Instance, img.Manifest), Text: w.String(), Mount: mount, Users: w.users, Warnings: w.warnings.All(),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.Steps.End()
	return unit, nil
}

// identify looks up the image's process in its files.
func identify(ctx context.Context, e *engine.Engine, s *build.Session, img *content.Image) (_ process.Identity, err error) {
	c := img.Config.Config
	args := slices.Concat(c.Entrypoint, c.Cmd)
	if len(args) == 0 {
		return process.Identity{}, fmt.Errorf("write a unit for %s: its config names no command", img.Name)
	}
	if err := s.Roots.Of(img, "image").Unpack(ctx); err != nil {
		return process.Identity{}, err
	}
	view, err := snapshot.OpenView(ctx, e.Client.SnapshotService(e.Snapshotter), img.ChainID.String())
	if err != nil {
		return process.Identity{}, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	root, err := os.Open(view.Dir())
	if err != nil {
		return process.Identity{}, err
	}
	defer root.Close() // only read
	return process.Identify(root, process.Process{Args: args, Env: c.Env, Cwd: c.WorkingDir, User: c.User})
}

// releaseName is the name by which an image is kept for a unit.
func releaseName(instance string, target ocispec.Descriptor) string {
	return releases + instance + ":" + target.Digest.Encoded()[:12]
}

// AddRelease keeps the image of a unit, as the newest release of its instance, until
// [DropReleases] removes it.
func AddRelease(ctx context.Context, e *engine.Engine, unit *UnitFile) error {
	_, err := Tag(ctx, e, unit.Digest.String(), unit.Release)
	return err
}

// DropReleases removes the names of all but the last releases of an instance. It returns the
// names. Those that are mounted stay, unless the image has another name.
func DropReleases(ctx context.Context, e *engine.Engine, instance string, keep int) ([]string, error) {
	all, err := e.Client.ImageService().List(e.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	mine := slices.DeleteFunc(all, func(i images.Image) bool { return !strings.HasPrefix(i.Name, releases+instance+":") })
	slices.SortFunc(mine, func(a, b images.Image) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), strings.Compare(a.Name, b.Name))
	})
	var dropped []string
	var errs []error
	for _, old := range mine[min(keep, len(mine)):] {
		_, err := Remove(ctx, e, old.Name, false)
		if errors.Is(err, ErrMounted) || errors.Is(err, ErrInUse) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		dropped = append(dropped, old.Name)
	}
	return dropped, errors.Join(errs...)
}
