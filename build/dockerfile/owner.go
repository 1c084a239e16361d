package dockerfile

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/differ"
)

// maxUserFile bounds what is read of an image's /etc/passwd and /etc/group,
// which are a stranger's.
const maxUserFile = 4 << 20

// owner returns the owner that --chown names. nil: there is no --chown. As in
// BuildKit, a name that the image does not have means root; there is a warning. Where
// there is no image yet, in the first step on scratch, a name is an error.
func (x *action) owner(ctx context.Context, o *pb.ChownOpt) (*differ.Owner, error) {
	if o == nil {
		return nil, nil //nolint:nilnil // as documented
	}
	for _, u := range []*pb.UserOpt{o.GetUser(), o.GetGroup()} {
		if name := u.GetByName(); name != nil && name.Input < 0 {
			return nil, fmt.Errorf("owner %q of copied files: the stage begins with nothing (FROM scratch), so there are no names yet: a number is needed", name.Name)
		}
	}
	owner := &differ.Owner{}
	switch u := o.GetUser().GetUser().(type) {
	case *pb.UserOpt_ByID:
		owner.UID, owner.GID = u.ByID, u.ByID
	case *pb.UserOpt_ByName:
		fields := x.lookup(ctx, "/etc/passwd", "user", u.ByName.Name)
		if len(fields) > 3 {
			owner.UID, owner.GID = number(fields[2]), number(fields[3])
		}
	}
	switch g := o.GetGroup().GetUser().(type) {
	case *pb.UserOpt_ByID:
		owner.GID = g.ByID
	case *pb.UserOpt_ByName:
		if fields := x.lookup(ctx, "/etc/group", "group", g.ByName.Name); len(fields) > 2 {
			owner.GID = number(fields[2])
		}
	}
	return owner, nil
}

// lookup finds the line of a name in a file in the format of passwd(5) or group(5).
func (x *action) lookup(ctx context.Context, file, what, name string) []string {
	data, err := x.changes.ReadFile(ctx, file, maxUserFile)
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if fields := strings.Split(strings.TrimSpace(line), ":"); fields[0] == name {
				return fields
			}
		}
		err = fmt.Errorf("the image's %s has none of that name", file)
	}
	x.s.Watch.Warn(fmt.Sprintf("owner of copied files: no %s %q, so root is taken: %v", what, name, err))
	return nil
}

// number returns the number of an owner. What is no number means root.
func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0
	}
	return uint32(n)
}
