package dockerfile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// execStep is a RUN.
type execStep struct {
	s      *solver
	v      *vertex
	op     *pb.ExecOp
	inputs []*state
	// on is the state that it runs in.
	on *state
}

// exec does a RUN.
func (s *solver) exec(ctx context.Context, v *vertex, op *pb.ExecOp, inputs []*state) (*state, error) {
	x := &execStep{s: s, v: v, op: op, inputs: inputs, on: scratch()}
	if err := x.check(); err != nil {
		return nil, err
	}
	for i, in := range inputs {
		var err error
		if inputs[i], err = s.settle(ctx, in); err != nil {
			return nil, err
		}
	}
	for _, m := range op.Mounts {
		if m.Dest == "/" && m.Input >= 0 {
			var err error
			if x.on, err = s.based(ctx, inputs[m.Input], v.layered); err != nil {
				return nil, err
			}
		}
	}
	key, err := x.key(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name(), err)
	}
	k := s.keyed(key)
	m, err := s.remade(ctx, v, k, func(p *progress) (*graph.Made, error) {
		if m, err := x.layer(ctx, k); m != nil || err != nil {
			return m, err
		}
		return x.run(ctx, p)
	}, nil)
	if err != nil {
		return nil, err
	}
	return x.on.next(m), nil
}

// check returns an error for what is not supported, or not allowed by the caller.
func (x *execStep) check() error {
	no := func(what string) error { return fmt.Errorf("%s: %s", x.v.name(), what) }
	if x.s.Runner == nil {
		return no("there is nothing to run processes with")
	}
	if x.op.Security == pb.SecurityMode_INSECURE && !x.s.Process.AllowInsecure {
		return &fault.Error{Kind: ErrNotAllowed, Ref: "security.insecure", Err: no("the security mode insecure gives the process every right on this host")}
	}
	if x.op.Network == pb.NetMode_HOST && !x.s.Process.AllowHostNetwork && x.s.Process.Network != "host" {
		return &fault.Error{Kind: ErrNotAllowed, Ref: "network.host", Err: no("the process would have the host's network")}
	}
	if len(x.op.CdiDevices) > 0 {
		return no("devices are not supported")
	}
	if x.op.Meta.CgroupParent != "" {
		return no("a parent for the cgroup is not supported")
	}
	if len(x.op.Meta.ValidExitCodes) > 0 {
		return no("exit codes other than 0 are not supported")
	}
	for _, m := range x.op.Mounts {
		if m.Dest != "/" && m.Output > 0 {
			return no("a mount whose content is kept as a result is not supported")
		}
	}
	return nil
}

// key covers the process, the files that it runs in, and the mounted files. It
// covers only the names of secrets, and not the content of caches.
func (x *execStep) key(ctx context.Context) (graph.Key, error) {
	h := graph.NewHash("exec 1")
	op, ok := proto.Clone(x.op).(*pb.ExecOp)
	if !ok {
		return "", errors.New("copy of a step is none")
	}
	op.Meta.ProxyEnv = nil // How the network is reached is no part of what is made.
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		return "", err
	}
	h.Add(data)
	h.AddString(platformOf(x.v.op.Platform))
	x.on.addTo(h)
	if e := x.s.Layers.Epoch; e != nil {
		h.AddString("epoch")
		h.AddInt(e.Unix())
	}
	for _, m := range op.Mounts {
		if m.Input < 0 || m.Dest == "/" {
			continue
		}
		in := x.inputs[m.Input]
		whole, err := x.s.tree(ctx, in)
		if err != nil {
			return "", err
		}
		h.AddString(m.Dest)
		if err := x.s.sums(in.source).part(ctx, h, whole, path.Join("/", m.Selector)); err != nil {
			return "", err
		}
	}
	return h.Key(), nil
}

// layer makes the layer of a step that an earlier build did without one.
func (x *execStep) layer(ctx context.Context, k keyed) (*graph.Made, error) {
	if !x.v.layered || x.v.meta.GetIgnoreCache() {
		return nil, nil
	}
	m, err := x.s.cache.Lookup(ctx, k.plain, false)
	if m == nil || err != nil {
		return nil, err
	}
	now, err := x.s.openSnapshot(ctx, m.Snapshot)
	if err != nil {
		return nil, err
	}
	made, err := x.compare(ctx, now)
	if err = errors.Join(err, now.Close()); err != nil {
		return nil, err
	}
	// The keys of later steps have the first ID in them.
	made.ID = m.ID
	return made, nil
}

// run runs the process, and makes a snapshot of what it wrote.
func (x *execStep) run(ctx context.Context, p *progress) (_ *graph.Made, err error) {
	if err := x.v.runsHere(); err != nil {
		return nil, err
	}
	mounts, release, err := x.mounts(ctx)
	defer func() { err = errors.Join(err, release()) }()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.v.name(), err)
	}
	process, err := x.process(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.v.name(), err)
	}
	process.Mounts = mounts
	work, err := snapshot.NewWork(ctx, x.s.client(), x.s.engine().Snapshotter, x.on.snapshot)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, work.Close(ctx)) }()
	if err := x.s.keepTimesOf(ctx, work, x.on); err != nil {
		return nil, err
	}
	if err := x.s.Runner.Run(ctx, work.Mounts(), process); err != nil {
		return nil, &RunError{Command: strings.Join(x.op.Meta.Args, " "), Err: err}
	}
	if x.v.layered {
		return x.layerOf(ctx, work)
	}
	bytes, err := x.written(ctx, work)
	if err != nil {
		return nil, err
	}
	name := "veneer-made-" + rand.Text()
	if err := work.Commit(ctx, name); err != nil {
		return nil, x.s.needsDirs(err)
	}
	return &graph.Made{Snapshot: name, ID: name, Bytes: bytes}, nil
}

// layerOf makes the layer of what a process wrote, and a snapshot of the layer.
func (x *execStep) layerOf(ctx context.Context, work *snapshot.Work) (_ *graph.Made, err error) {
	found, err := work.Find(ctx)
	if err != nil {
		return nil, x.s.needsDirs(err)
	}
	stack, err := disk.OpenStack(found.Dirs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	return x.compare(ctx, rootfs.Unpacked{Tree: stack})
}

// compare makes the layer with the differences between the files before and after
// the process.
func (x *execStep) compare(ctx context.Context, now tree.Tree) (_ *graph.Made, err error) {
	base, err := x.s.open(ctx, x.on)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	if err := x.warnRoot(ctx, base, now); err != nil {
		return nil, err
	}
	changes, err := differ.NewChanges(ctx, base)
	if err != nil {
		return nil, err
	}
	// Programs such as make read times, so times count here.
	o := differ.ExactOptions{Name: x.v.name(), Times: true, Options: x.s.session.CompareOptions()}
	if err := changes.Exactly(ctx, now, o); err != nil {
		return nil, err
	}
	return x.s.write(ctx, changes, x.on, true)
}

// warnRoot warns of a change of the root directory itself. Containerd ignores what a
// layer says of it, and so does BuildKit's layer.
func (x *execStep) warnRoot(ctx context.Context, base, now tree.Tree) error {
	was, _, err := base.Root(ctx)
	if err != nil {
		return err
	}
	is, _, err := now.Root(ctx)
	if err == nil && (is.Mode != was.Mode || is.UID != was.UID || is.GID != was.GID) {
		x.s.Watch.Warn(x.v.name() + ": it changes the mode or the owner of / itself, which no image keeps")
	}
	return err
}

// RunError is a RUN that failed.
type RunError struct {
	Command string
	Err     error
}

// Error implements error.
func (e *RunError) Error() string { return fmt.Sprintf("run %q: %v", e.Command, e.Err) }

// Unwrap returns the cause: an [*run.ExitError] where the command failed.
func (e *RunError) Unwrap() error { return e.Err }

// process returns the process, without its mounts.
func (x *execStep) process(ctx context.Context, p *progress) (run.Process, error) {
	m := x.op.Meta
	out := run.Process{
		Args: m.Args, Env: slices.Clone(m.Env), Cwd: m.Cwd, User: m.User, Hostname: m.Hostname,
		Insecure: x.op.Security == pb.SecurityMode_INSECURE, Stdout: p, Stderr: p,
	}
	if r := x.v.meta.GetLinuxResources(); r != nil {
		out.Memory, out.Swap = r.Memory, r.MemorySwap
		out.CPU = run.CPU{Shares: r.CpuShares, Quota: r.CpuQuota, Period: r.CpuPeriod, Processors: r.CpusetCpus, Nodes: r.CpusetMems}
	}
	network := x.s.Process.Network
	switch x.op.Network {
	case pb.NetMode_HOST:
		network = "host"
	case pb.NetMode_NONE:
		network = "none"
	}
	out.Network = run.Network(network)
	for _, h := range m.ExtraHosts {
		ip, err := netip.ParseAddr(h.IP)
		if err != nil {
			return out, fmt.Errorf("add host %s: %w", h.Host, err)
		}
		out.ExtraHosts = append(out.ExtraHosts, run.Host{Name: h.Host, IP: ip})
	}
	for _, u := range m.Ulimit {
		out.Ulimits = append(out.Ulimits, run.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, mount := range x.op.Mounts {
		// The frontend says the size of /dev/shm as a mount of it.
		if mount.Dest == "/dev/shm" && mount.MountType == pb.MountType_TMPFS {
			out.ShmSize = mount.GetTmpfsOpt().GetSize()
		}
	}
	out.Env = append(out.Env, proxies(m.ProxyEnv)...)
	for _, e := range x.op.Secretenv {
		data, err := x.s.secret(ctx, e.ID)
		if errors.Is(err, ErrNoSecret) && e.Optional {
			continue
		}
		if err != nil {
			return out, err
		}
		out.Env = append(out.Env, e.Name+"="+string(data))
	}
	return out, nil
}

// proxies returns the variables for proxies. They come from the build arguments of
// these names, and do not go into the image.
func proxies(p *pb.ProxyEnv) []string {
	if p == nil {
		return nil
	}
	var env []string
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", p.HttpProxy},
		{"HTTPS_PROXY", p.HttpsProxy},
		{"FTP_PROXY", p.FtpProxy},
		{"NO_PROXY", p.NoProxy},
		{"ALL_PROXY", p.AllProxy},
	} {
		if v.value != "" {
			env = append(env, v.name+"="+v.value, strings.ToLower(v.name)+"="+v.value)
		}
	}
	return env
}
