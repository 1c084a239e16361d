package engine

import (
	"context"
	"errors"
	"io"
	"strings"
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
		for err == nil && s.RecvMsg(&contentapi.WriteContentResponse{}) == nil {
			continue // An answer that nobody waited for.
		}
		return err
	})
	s.unlocked = sync.OnceFunc(func() {
		defer cancel()
		if own.Err() != nil {
			return // It was waited for the daemon long enough.
		}
		limited, done := context.WithTimeout(own, writeEnd)
		defer done()
		untilUnlocked(limited, cc, s.ref, func() (grpc.ClientStream, error) { return open(limited, desc, cc, method, opts...) })
	})
	return s, nil
}

// writeStream is the stream of a writer. Once ctx is done it sends nothing more,
// but still waits for answers to what was sent.
type writeStream struct {
	grpc.ClientStream
	ctx context.Context //nolint:containedctx // the one that the stream was opened with
	ref string          // the ingest's name, once the daemon was told it
	end func() error
	// unlocked returns when the daemon has given the ingest up.
	unlocked func()
}

// SendMsg implements grpc.ClientStream. If the daemon has ended the stream, gRPC's
// SendMsg returns io.EOF only. The reason comes from RecvMsg.
func (s *writeStream) SendMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	if req, ok := m.(*contentapi.WriteContentRequest); ok && s.ref == "" {
		s.ref = req.GetRef()
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

// RecvMsg implements grpc.ClientStream. If the stream broke on its way, the daemon
// learns of that by itself, and ends the writer soon after.
func (s *writeStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if broke(err) && s.ref != "" {
		s.unlocked()
	}
	return err
}

// CloseSend implements grpc.ClientStream.
func (s *writeStream) CloseSend() error { return s.end() }

// broke reports whether a stream has ended by something else than the daemon's word:
// the connection, or what stands between. A daemon ends its writer before it answers
// with an error. Where it answers that another one has the ingest locked, it began none.
func broke(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable:
		return !strings.Contains(err.Error(), " locked for ")
	case codes.DeadlineExceeded, codes.Canceled, codes.Internal:
		return true
	}
	return false
}

// maxReread bounds an ingest that untilUnlocked opens: the daemon reads it to its end.
const maxReread = 64 << 20

// untilUnlocked returns when no writer of the daemon's has the ingest open, by opening
// and ending one: of each ingest there is one at a time. It gives up when ctx ends. The
// ingest stays as it is.
func untilUnlocked(ctx context.Context, cc *grpc.ClientConn, ref string, open func() (grpc.ClientStream, error)) {
	for try := 1; ctx.Err() == nil; try++ {
		s, err := contentapi.NewContentClient(cc).Status(ctx, &contentapi.StatusRequest{Ref: ref})
		switch {
		case status.Code(err) == codes.NotFound, err == nil && s.GetStatus().GetOffset() > maxReread:
			return
		case err == nil:
			err = openOnce(ref, open)
		}
		if status.Code(err) != codes.Unavailable {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * 5 * time.Millisecond):
		}
	}
}

// openOnce opens a writer, and returns when it has ended. The error is the daemon's, if
// it opens none.
func openOnce(ref string, open func() (grpc.ClientStream, error)) error {
	stream, err := open()
	if err != nil {
		return err
	}
	answer := &contentapi.WriteContentResponse{}
	// What SendMsg fails with RecvMsg says.
	_ = stream.SendMsg(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_STAT, Ref: ref})
	if err := stream.RecvMsg(answer); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for err = nil; err == nil; {
		err = stream.RecvMsg(answer)
	}
	return nil
}
