package buildkitapi

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// exportFiles sends the final files to the client, as a directory or as a tar.
func (x *solving) exportFiles(ctx context.Context, res *gw.Result, e *controlapi.Exporter, id int) (err error) {
	all, err := images(res)
	if err != nil {
		return err
	}
	var opened []io.Closer
	defer func() {
		for _, c := range opened {
			err = errors.Join(err, c.Close())
		}
	}()
	split := several(res)
	if text, ok := e.Attrs["platform-split"]; ok {
		if split, err = strconv.ParseBool(text); err != nil {
			return err
		}
	}
	epoch := x.solver.Epoch()
	var dirs []fsutil.Dir
	for _, img := range all {
		dir, c, err := x.solver.Open(ctx, img.ref)
		if err != nil {
			return err
		}
		opened = append(opened, c)
		f, err := fsutil.NewFS(dir)
		if err != nil {
			return err
		}
		if epoch != nil {
			if f, err = timed(f, *epoch); err != nil {
				return err
			}
		}
		st := &fstypes.Stat{Mode: uint32(os.ModeDir | 0o755), Path: strings.ReplaceAll(img.platform, "/", "_")}
		if epoch != nil {
			st.ModTime = epoch.UnixNano()
		}
		dirs = append(dirs, fsutil.Dir{FS: f, Stat: st})
	}
	f := dirs[0].FS
	if split {
		if f, err = fsutil.SubDirFS(dirs); err != nil {
			return err
		}
	}
	if e.Type == "local" {
		return filesync.CopyToCaller(ctx, f, id, x.caller.session, nil, filesync.WithExporterMultiPlatformTransfer())
	}
	w, err := filesync.CopyFileWriter(ctx, maps.Clone(x.response), id, x.caller.session)
	if err != nil {
		return err
	}
	return errors.Join(fsutil.WriteTar(ctx, f, w), w.Close())
}

// timed gives all files one time.
func timed(f fsutil.FS, at time.Time) (fsutil.FS, error) {
	return fsutil.NewFilterFS(f, &fsutil.FilterOpt{Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
		st.ModTime = at.UnixNano()
		return fsutil.MapResultKeep
	}})
}
