// Package s3 is the store of a replica in Amazon S3, or in what speaks its
// protocol.
//
// Stores differ, and networks fail. So nothing is taken on trust that can be
// checked: that a range is the one asked for, of the version asked for, and
// whole; that a store has what was written; that what was deleted is gone. What
// may pass is tried again, within the caller's deadline, and what doesn't is an
// error. The SDK's transfer manager isn't used: it buffers in memory what is on
// disk, gives up on ranges, and doesn't verify.
package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Type is what Store.Type returns.
const Type = "s3"

// What suits a store in S3.
const (
	freshness = 5 * time.Second // a listing costs money

	// settle is how long a store may contradict itself. AWS and most others
	// don't; of the rest, this is what they promise.
	settle = 2 * time.Second

	// requests is as many operations as there are connections by default.
	requests = 64
)

// everyone is the weight of Close, which waits for all changes.
const everyone = 1 << 30

// errStoreClosed is returned by what is called after Close, or cut short by it.
var errStoreClosed = fmt.Errorf("the store is closed: %w", os.ErrClosed)

// Store reads and writes a replica in a bucket. All its methods may be called at
// once from many goroutines.
type Store struct {
	cfg    config.Config // complete
	logger atomic.Pointer[slog.Logger]
	conns  *conns

	// What Init finds out. starting is held while it does, as a channel so
	// that those who wait end with their contexts.
	starting chan struct{}
	ready    atomic.Pointer[session]

	// alive is when the bucket was last seen, in Unix nanoseconds.
	alive atomic.Int64

	// What the store has refused, and so isn't sent any more: checksums in
	// headers, If-None-Match, a request that deletes many objects. wantsMD5 is
	// set once it has refused such a request without Content-MD5, and
	// lacksChecksums once it has shown that it returns none.
	refusesChecksums, refusesConditions, refusesBatches atomic.Bool
	wantsMD5, lacksChecksums                            atomic.Bool

	// life ends with Close. changing is held by each write and deletion, and
	// by Close.
	life     context.Context
	end      context.CancelFunc
	changing *semaphore.Weighted

	// abandoned are uploads that could not be aborted, for the next try.
	mu        sync.Mutex
	abandoned []unfinished
}

var _ replica.Store = (*Store)(nil)

// New returns the store of the replica that cfg names. It asks no network, and
// reads no file but the CA certificates.
func New(cfg config.Config) (*Store, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	if _, err := newTLSConfig(cfg); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, conns: newConns(cfg.Timeouts),
		starting: make(chan struct{}, 1), changing: semaphore.NewWeighted(everyone),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.refusesChecksums.Store(cfg.NoChecksums)
	s.SetLogger(cfg.Logger)
	return s, nil
}

// Type returns "s3".
func (s *Store) Type() string { return Type }

// Properties implements replica.Store.
func (s *Store) Properties() replica.Properties {
	return replica.Properties{Freshness: freshness, Settle: settle, Requests: requests}
}

// OpenLocal returns an error that wraps errors.ErrUnsupported.
func (s *Store) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return replica.Wrapper{Store: s}.OpenLocal(ctx, f)
}

// Space returns an error that wraps errors.ErrUnsupported.
func (s *Store) Space(context.Context) (replica.Space, error) {
	return replica.Space{}, fmt.Errorf("the space in S3: %w", errors.ErrUnsupported)
}

// SetLogger sets where the store tells what it does; nil is slog's default.
func (s *Store) SetLogger(logger *slog.Logger) {
	if logger == nil {
		logger = slog.Default()
	}
	s.logger.Store(logger)
}

func (s *Store) log() *slog.Logger { return s.logger.Load() }

// Layout returns the layout as it was given to New or detected by Init. It is
// the zero layout until then.
func (s *Store) Layout() replica.Layout {
	if at := s.ready.Load(); at != nil {
		return at.layout
	}
	return s.cfg.Layout
}

// Connections is the number of open connections to the store, idle ones among
// them.
func (s *Store) Connections() int { return s.conns.count() }

// Init connects: it finds the credentials, the region of an AWS bucket if it
// isn't given, and the layout if it isn't given, with three requests at most for
// a replica as Litestream makes it. Once that has succeeded, it does nothing. The
// other methods call it, so that calling it is only needed to find out early
// what is wrong.
//
// Its error wraps ErrNoSuchBucket, ErrNoCredentials, os.ErrPermission or
// replica.ErrMixedLayouts where one of them is the reason.
func (s *Store) Init(ctx context.Context) error {
	_, err := s.init(ctx)
	return err
}

func (s *Store) init(ctx context.Context) (*session, error) {
	if s.life.Err() != nil {
		return nil, errStoreClosed
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
	at, err := s.findReplica(ctx, client)
	if err != nil {
		return nil, err
	}
	s.log().Debug("connected", "replica", s.cfg.String(), "region", region, "layout", at.layout.Name, "root", at.root)
	return at, nil
}

// enter begins a write or a deletion, whose context ends with the store. leave
// ends it, and returns its error, or why it was cut short.
func (s *Store) enter(ctx context.Context) (_ context.Context, leave func(error) error, err error) {
	if err := s.changing.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func(err error) error {
		stop()
		cancel()
		s.changing.Release(1)
		if caller.Err() == nil && errors.Is(err, context.Canceled) {
			return s.orClosed(err)
		}
		return err
	}, nil
}

// orClosed is err, or that the store is closed where that is why.
func (s *Store) orClosed(err error) error {
	if err != nil && s.life.Err() != nil {
		return errStoreClosed
	}
	return err
}

// Close ends what is under way, aborts what failed uploads have left, as far as
// the store answers, and closes all connections. The store can't be used
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
		err = errors.Join(err, s.abort(ctx, at))
	}
	s.conns.close()
	return err
}

// ReplicaClient is a replica in a bucket, with the methods of Litestream's guide.
type ReplicaClient struct {
	replica.Client
	store *Store
}

// NewReplicaClient returns a client of s.
func NewReplicaClient(s *Store) *ReplicaClient {
	return &ReplicaClient{Client: replica.ClientOf(s), store: s}
}

// Init connects; see Store.Init.
func (c *ReplicaClient) Init(ctx context.Context) error { return c.store.Init(ctx) }

// SetLogger sets where the client tells what it does; nil is slog's default.
func (c *ReplicaClient) SetLogger(logger *slog.Logger) { c.store.SetLogger(logger) }

// Close closes the store; see Store.Close.
func (c *ReplicaClient) Close() error { return c.store.Close() }
