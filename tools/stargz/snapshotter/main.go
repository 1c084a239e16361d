// Command snapshotter serves the stargz snapshotter beside a containerd, as containerd-stargz-grpc does, whose own module cannot
// be had; all that it is made of is here. It fetches nothing but what is read, so that tests see what is. It ends, and unmounts,
// by SIGTERM.
//
//	snapshotter SOCKET DIRECTORY
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/service"
	"google.golang.org/grpc"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: snapshotter SOCKET DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "snapshotter:", err)
		os.Exit(1)
	}
}

func run(socket, root string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	snapshotter, err := service.NewStargzSnapshotterService(ctx, root, &service.Config{
		Config: config.Config{NoPrefetch: true, NoBackgroundFetch: true},
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { err = errors.Join(err, snapshotter.Close()) }()
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	return server.Serve(listener)
}
