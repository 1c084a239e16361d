package engine

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const methodContentWrite = "/containerd.services.content.v1.Content/Write"

// writeEnd bounds the wait for a daemon to give up a writer.
const writeEnd = 2 * time.Second

// untilWriteEnds is a grpc.StreamClientInterceptor. It makes closing or cancelling
// a content writer wait until the daemon has closed its side. At its end the daemon
// writes into the ingest's directory. If garbage collection or an Abort removed the
// directory at that moment, part of it would stay, and no client could see or
// remove that.
func untilWriteEnds(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if method != methodContentWrite {
		return open(ctx, desc, cc, method, opts...)
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(writeEnd, cancel) })
	stream, err := open(own, desc, cc, method, opts...)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	s := &writeStream{ClientStream: stream, ctx: ctx}
	s.end = sync.OnceValue(func() error {
		defer cancel()
		defer stop()
		defer time.AfterFunc(writeEnd, cancel).Stop()
		err := stream.CloseSend()
		for err == nil && stream.RecvMsg(&contentapi.WriteContentResponse{}) == nil {
			continue // An answer that nobody waited for.
		}
		return err
	})
	return s, nil
}

// writeStream is the stream of a writer. Once ctx is done it sends nothing more,
// but still waits for answers to what was sent.
type writeStream struct {
	grpc.ClientStream
	ctx context.Context //nolint:containedctx // the one that the stream was opened with
	end func() error
}

// SendMsg implements grpc.ClientStream. If the daemon has ended the stream, gRPC's
// SendMsg returns io.EOF only. The reason comes from RecvMsg.
func (s *writeStream) SendMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	err := s.ClientStream.SendMsg(m)
	if !errors.Is(err, io.EOF) {
		return err
	}
	for err = nil; err == nil; {
		err = s.RecvMsg(&contentapi.WriteContentResponse{})
	}
	if errors.Is(err, io.EOF) {
		return status.Error(codes.Unavailable, "the daemon ended the stream")
	}
	return err
}

// CloseSend implements grpc.ClientStream.
func (s *writeStream) CloseSend() error { return s.end() }
