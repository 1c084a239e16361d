package veneer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/trusted"
	"github.com/veneer-build/veneer/snapshot"
)

// MountRequest says whose root file system is mounted, and where. Image and Dir are
// required.
type MountRequest struct {
	// Image is one of the engine.
	Image string
	// Platform chooses from a multi-platform image; empty: the host's.
	Platform string
	// Dir is an empty directory, or one that does not exist: then it is made, and goes
	// when it is unmounted.
	Dir string
	// Writable: what is written goes when it is unmounted.
	Writable bool
	// Upper is a directory that keeps what is written; empty: there is none. It is made
	// if it does not exist, and nobody else may enter it.
	Upper string
	Reports
}

// Mounted is a root file system that a process has mounted and left so.
type Mounted struct {
	// Image is the name it was asked for by, and Digest its manifest's.
	Image    string        `json:"image"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
	// Dir is absolute, without symbolic links.
	Dir      string `json:"dir"`
	Writable bool   `json:"writable"`
	Upper    string `json:"upper,omitempty"`
	// Since is when it was mounted.
	Since time.Time `json:"since"`
	// State says whether it still is.
	State MountState `json:"state"`
	// Users are processes in other mount namespaces that go on using it if it is unmounted.
	Users []MountUser `json:"users,omitempty"`

	record mountRecord
	lease  lease.Mounted
	// places are where it is mounted in this mount namespace.
	places []string
}

// MountUser is a process in another mount namespace.
type MountUser = snapshot.Process

// MountState says where a mount is.
type MountState string

// What has become of mounts.
const (
	// MountThere: it is on its directory.
	MountThere MountState = "mounted"
	// MountElsewhere: it is not, and other mounts or other processes show it.
	MountElsewhere MountState = "elsewhere"
	// MountGone: it is not mounted any more, as after the host was started again.
	MountGone MountState = "gone"
	// MountUnknown: it is not mounted here. Whether it is elsewhere cannot be seen.
	MountUnknown MountState = "unknown"
)

// mountRecord is kept with the lease of a mount.
type mountRecord struct {
	Image       string        `json:"image"`
	Digest      digest.Digest `json:"digest"`
	Platform    string        `json:"platform"`
	ChainID     digest.Digest `json:"chain"`
	Dir         string        `json:"dir"`
	Made        bool          `json:"made,omitempty"` // the directory
	Writable    bool          `json:"writable,omitempty"`
	Upper       string        `json:"upper,omitempty"`
	Snapshotter string        `json:"snapshotter"`
	Key         string        `json:"key"` // of the snapshot
	Mark        snapshot.Mark `json:"mark"`
}

// Mount mounts an image's root file system on a directory, for everybody in this
// process's mount namespace, until [Unmount]. A lease keeps it and the image. Only root
// can do that, and on a directory alone of which nobody else can say where its path
// leads. In the file system set-user-ID bits, file capabilities and devices
// have no effect.
//
// A killed process leaves it mounted as a whole or not at all, and [Mounts] lists it if
// it is. What was not finished [Prune] removes.
func Mount(ctx context.Context, e *engine.Engine, req MountRequest) (*Mounted, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	var done *Mounted
	o := build.Options{AllowEncrypted: true, Steps: progress.New(req.Progress), Log: req.Log}
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		img, err := s.Base(ctx, req.Image, req.Platform)
		if err != nil {
			return err
		}
		if img.IsScratch() || len(img.Layers) == 0 {
			return fmt.Errorf("mount %s: it has no layers, and so no files", img.Name)
		}
		if err := s.Roots.Of(img, "image").Unpack(ctx); err != nil {
			return err
		}
		done, err = mountAt(ctx, e, img, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	o.Steps.End()
	return done, nil
}

func (req MountRequest) check() error {
	switch {
	case req.Image == "":
		return errors.New("mount an image: none is given")
	case req.Dir == "":
		return fmt.Errorf("mount %s: no directory is given", req.Image)
	case os.Geteuid() != 0:
		return &Error{Kind: ErrNotRoot, Op: "mount on", Path: req.Dir}
	}
	return nil
}

// mountAt mounts an unpacked image that ctx's lease holds.
func mountAt(ctx context.Context, e *engine.Engine, img *content.Image, req MountRequest) (_ *Mounted, err error) {
	place, err := openMountPlace(req.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	if req.Upper, err = openUpper(req.Upper); err != nil {
		return nil, err
	}
	if err := forgetAt(ctx, e, place.path); err != nil {
		return nil, err
	}
	work, err := openWork(ctx, e, img, req)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, work.Close(ctx))
		}
	}()
	id := lease.NewID()
	d, err := work.Detached(snapshot.Lasting{ID: id, Upper: req.Upper})
	if errors.Is(err, ErrCannotMount) {
		return nil, &Error{Kind: ErrCannotMount, Op: "mount", Ref: img.Name, Err: err}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	record := mountRecord{
		Image: img.Name, Digest: img.Manifest.Digest, Platform: content.FormatPlatform(img.Platform), ChainID: img.ChainID,
		Dir: place.path, Made: place.made, Writable: req.Writable || req.Upper != "", Upper: req.Upper,
		Snapshotter: e.Snapshotter, Key: work.Key(), Mark: d.Mark(),
	}
	release, err := keepMounted(ctx, e, img, id, record)
	if err != nil {
		return nil, err
	}
	if err := d.Attach(place.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s on %s: %w", img.Name, place.path, err), release(ctx))
	}
	place.mounted = true
	m := &Mounted{lease: lease.Mounted{ID: id, Created: time.Now(), Release: release}, record: record, State: MountThere}
	m.fill()
	return m, nil
}

// keepMounted makes the lease that keeps a mount and its image.
func keepMounted(ctx context.Context, e *engine.Engine, img *content.Image, id string, r mountRecord) (_ lease.Release, err error) {
	note, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ls := e.Client.LeasesService()
	kept, release, err := lease.KeepMounted(ctx, ls, id, string(note))
	if err != nil {
		return nil, err
	}
	err = lease.AddSnapshot(kept, ls, r.Snapshotter, r.Key)
	if err == nil {
		err = content.Hold(kept, e.Client, img)
	}
	if err != nil {
		return nil, errors.Join(err, release(ctx))
	}
	return release, nil
}

// openWork makes the snapshot that is mounted: an active one, or a view of the image's.
// The engine's directories must be the same ones here.
func openWork(ctx context.Context, e *engine.Engine, img *content.Image, req MountRequest) (*snapshot.Work, error) {
	if err := e.MayMount(ctx); err != nil {
		return nil, &Error{Kind: ErrCannotMount, Op: "mount", Ref: img.Name, Err: err}
	}
	open := snapshot.NewReading
	if req.Writable && req.Upper == "" {
		open = snapshot.NewWork
	}
	work, err := open(ctx, e.Client, e.Snapshotter, img.ChainID.String())
	if err != nil {
		return nil, err
	}
	for _, dir := range work.Dirs() {
		if err := e.Sees(ctx, dir); err != nil {
			err = &Error{Kind: ErrCannotMount, Op: "mount", Ref: img.Name, Err: err}
			return nil, errors.Join(err, work.Close(ctx))
		}
	}
	return work, nil
}

// openUpper makes the directory that keeps what is written, which only this user may
// enter: files in it may have set-user-ID bits, which have an effect there.
func openUpper(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	_, err := os.Lstat(dir)
	fresh := errors.Is(err, unix.ENOENT)
	f, _, err := trusted.MakeDir(dir)
	if err != nil {
		return "", foreignPlace("keep what is written in", dir, err)
	}
	defer f.Close() // only read
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	if fresh {
		if err := os.Chmod(path, 0o700); err != nil {
			return "", err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &Error{Kind: ErrForeign, Op: "keep what is written in", Path: path, Err: fmt.Errorf("others may enter it (mode %#o), and find programs of other users' rights there: %w", info.Mode().Perm(), ErrForeign)}
	}
	mounts, err := snapshot.ListMounts()
	if err != nil {
		return "", err
	}
	if at, used := mounts.UpperOf(filepath.Join(path, snapshot.UpperName)); used {
		return "", &Error{Kind: ErrMountBusy, Op: "keep what is written in", Path: path, Err: fmt.Errorf("what is mounted on %s is kept there: %w", at, ErrMountBusy)}
	}
	return path, nil
}

// fill tells of the record what callers know.
func (m *Mounted) fill() {
	r := m.record
	m.Image, m.Digest, m.Platform, m.Dir, m.Writable, m.Upper, m.Since = r.Image, r.Digest, r.Platform, r.Dir, r.Writable, r.Upper, m.lease.Created
}
