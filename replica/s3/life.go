package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// everyone is the weight of Close, which waits for all changes.
const everyone = 1 << 30

// Layout returns the layout as it was given to New or detected by Init. It is
// the zero layout until then.
func (s *Store) Layout() replica.Layout {
	if at := s.ready.Load(); at != nil {
		return at.layout
	}
	return s.cfg.Layout
}

// Connections is the number of open connections of the store and those that it shares them
// with, idle ones among them.
func (s *Store) Connections() int { return s.conns.Count() }

// Init connects: it finds the credentials, the region of an AWS bucket if it
// isn't given, and the layout if it isn't given, with three requests at most for
// a replica as Litestream makes it. Once that has succeeded, it does nothing. The
// other methods call it, so that calling it is only needed to find out early
// what is wrong.
//
// Its error wraps ErrNoSuchBucket, ErrNoCredentials, ErrInside, os.ErrPermission,
// replica.ErrMixedLayouts or replica.ErrLitestream03 where one of them is the reason.
func (s *Store) Init(ctx context.Context) error {
	_, err := s.init(ctx)
	return err
}

func (s *Store) init(ctx context.Context) (*session, error) {
	if s.life.Err() != nil {
		return nil, transport.ErrClosed
	}
	if at := s.ready.Load(); at != nil {
		return at, ctx.Err()
	}
	select {
	case s.starting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.starting }()
	if at := s.ready.Load(); at != nil {
		return at, ctx.Err()
	}
	at, err := s.start(ctx)
	if e := answered(err); e.identity {
		// Where there have never been any, their source isn't away for a moment.
		e.is = []error{ErrNoCredentials}
	}
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", s.cfg, err)
	}
	s.ready.Store(at)
	return at, nil
}

func (s *Store) start(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	region, err := s.region(ctx)
	if err != nil {
		return nil, err
	}
	client, err := s.connect(ctx, region)
	if err != nil {
		return nil, err
	}
	at, err := (&session{bucket: s.bucket, s3: client}).findReplica(ctx)
	if err != nil {
		return nil, err
	}
	s.log().Debug("connected", "replica", s.cfg.String(), "region", region, "layout", at.layout.Name, "root", at.root)
	return at, nil
}

// change makes a write or a deletion, whose context ends with the store.
func (s *Store) change(ctx context.Context, do func(context.Context, *session) error) error {
	caller := ctx
	if err := s.changing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.changing.Release(1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	at, err := s.init(ctx)
	if err == nil {
		err = do(ctx, at)
	}
	return s.unlessClosed(caller, err)
}

// unlessClosed is err, or that the store is closed where that has cut a change short.
func (s *Store) unlessClosed(caller context.Context, err error) error {
	if s.life.Err() != nil && caller.Err() == nil && errors.Is(err, context.Canceled) {
		return transport.ErrClosed
	}
	return err
}

// Close ends the writes and deletions that are under way, aborts what failed uploads have left, as far as
// the store answers, and closes all connections that aren't a Pool's. The store can't be used
// afterwards.
func (s *Store) Close() error {
	s.end()
	// Long enough for writes to abort their uploads.
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.cfg.Timeouts.CleanUp)
	defer cancel()
	err := s.changing.Acquire(ctx, everyone)
	if err == nil {
		defer s.changing.Release(everyone)
	} else {
		err = fmt.Errorf("wait for writes and deletions to end: %w", err)
	}
	if at := s.ready.Load(); at != nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeouts.CleanUp)
		defer cancel()
		err = errors.Join(err, at.abort(ctx))
	}
	if s.own != nil {
		s.own.Close()
	}
	return err
}
