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
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// Type is what Store.Type returns.
const Type = "s3"

// What suits a store in S3.
const (
	freshness = 5 * time.Second // a listing costs money

	// settle is how long a store may contradict itself. AWS and most others
	// don't; of the rest, this is what they promise.
	settle = 2 * time.Second

	// requests is as many operations as there are connections by default, and the most if there are more.
	requests = 64
)

// Store reads and writes a replica in a bucket. All its methods may be called at
// once from many goroutines.
type Store struct {
	*bucket
	end context.CancelFunc // of its life
	own *Pool              // that nobody shares; may be nil

	// What Init finds out. starting is held while it does, as a channel so
	// that those who wait end with their contexts.
	starting chan struct{}
	ready    atomic.Pointer[session]

	// changing is held by each write and deletion, and by Close.
	changing *semaphore.Weighted
}

var _ replica.Store = (*Store)(nil)

// New returns the store of the replica that cfg names. It asks no network, and
// reads no file but the CA certificates.
func New(cfg config.Config) (*Store, error) {
	p := NewPool()
	s, err := p.New(cfg)
	if err == nil {
		s.own = p
	}
	return s, err
}

// Pool is connections that stores share where they are made in the same way, what is
// counted of their requests, and the room for what their listings are ahead.
type Pool struct {
	conns *transport.Pool
	pages *semaphore.Weighted // see bucket
}

// NewPool returns a pool without connections.
func NewPool() *Pool {
	return &Pool{conns: transport.NewPool(), pages: semaphore.NewWeighted(maxAhead)}
}

// New returns a store whose connections are the pool's, and end with that. It asks no network,
// and reads no file but the CA certificates.
func (p *Pool) New(cfg config.Config) (*Store, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	conns, err := p.conns.Connections(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		bucket:   &bucket{cfg: cfg, conns: conns, pages: p.pages, pace: p.conns.Pace(cfg), seen: newWitnesses(), slowPage: slowPage},
		starting: make(chan struct{}, 1), changing: semaphore.NewWeighted(everyone),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.lacking[uploadChecksums].Store(cfg.NoChecksums)
	s.SetLogger(cfg.Logger)
	return s, nil
}

// Collectors are what is counted of the requests of all stores.
func (p *Pool) Collectors() []prometheus.Collector { return p.conns.Collectors() }

// Close closes all connections. The stores can't be used afterwards.
func (p *Pool) Close() { p.conns.Close() }

// Type returns "s3".
func (s *Store) Type() string { return Type }

// Properties implements replica.Store.
func (s *Store) Properties() replica.Properties {
	return replica.Properties{
		Freshness: freshness, Settle: settle, Requests: min(requests, s.cfg.MaxConnections), Unordered: s.lacks(keyOrder),
		NewDigest: s.newDigest, Lacks: s.found(),
	}
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

// LTXFiles lists a level, a page of 1,000 at a time, as the loop gets there, and many
// pages ahead of it where they come slowly. The keys are in the order of TXIDs, and
// names cost as much as files.
//
// ModTime is the time of the last modification, in whole seconds, since a HEAD
// knows no more of it. With ExactTimes, it is the LTX timestamp, at the cost of a
// HEAD for each file that isn't Known, many at a time; see StatLTXFile.
func (s *Store) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		err := s.list(ctx, level, opts, func(f replica.File) bool { return yield(f, nil) })
		if err != nil && s.life.Err() != nil {
			err = transport.ErrClosed
		}
		if err != nil {
			yield(replica.File{}, fmt.Errorf("list level %d: %w", level, err))
		}
	}
}

func (s *Store) list(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File) bool) error {
	if err := replica.CheckLevel(level); err != nil {
		return err
	}
	at, err := s.init(ctx)
	if err != nil {
		return err
	}
	if opts.ExactTimes {
		return at.listExact(ctx, level, opts, yield)
	}
	if opts.AnyOrder {
		return at.list(ctx, level, opts.From, opts.Stray, yield)
	}
	return at.listInOrder(ctx, level, opts.From, opts.Stray, yield)
}

// StatLTXFile costs a HEAD. Its ModTime is the time of the last modification, as a
// listing has it.
//
// With ExactTime, it is the LTX timestamp: from the metadata, or for what was
// copied without it from the file's header, at the cost of one more request. What
// has neither has the time of the last modification.
func (s *Store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (f replica.File, err error) {
	at, err := s.init(ctx)
	if err == nil {
		f, err = at.stat(ctx, name, opts)
	}
	return f, replica.NewFileError("stat", name, err)
}

// OpenLTXFile reads a range with one GET, and one version by If-Match on its ETag.
// Without a version it reads the file as it is when it is opened. What breaks on
// the way is asked for again, of the same version, and so is what is late, see
// Config.Hedge.
//
// A version without an ETag is one of a store that gives none, or none that tells
// versions apart. Its size and its time of modification must be those that it had;
// within a second, they don't tell two files of one size apart.
func (s *Store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	at, err := s.init(ctx)
	if err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	r, err := at.open(ctx, f, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	return r, nil
}

// WriteLTXFile sends a file in one PUT if it is smaller than a part, and else in
// parts, many at a time. The object shows once it is whole. Before the method
// returns, it has made sure that the store has what was written, see
// Config.VerifyWrites, unless another writer has replaced it by then. Content is
// read for its checksums, unless they come with it, and again when it is sent, so that it
// needs no memory.
//
// Whether there is a file already, the store decides, if it knows If-None-Match, as
// most do. In another one, another writer may come between.
func (s *Store) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (f replica.File, err error) {
	if err := name.Check(); err != nil {
		return replica.File{}, replica.NewFileError("write", name, err)
	}
	err = s.change(ctx, func(ctx context.Context, at *session) (err error) {
		f, err = at.write(ctx, name, content, opts)
		return err
	})
	return f, replica.NewFileError("write", name, err)
}

// DeleteLTXFiles deletes one file with a request, and more with one request for
// 1,000. Then it makes sure that they are gone: stores exist that say so and do
// nothing.
func (s *Store) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	failed := map[replica.Name]error{}
	var valid []replica.Name
	for _, name := range names {
		if err := name.Check(); err != nil {
			failed[name] = err
			continue
		}
		valid = append(valid, name)
	}
	slices.SortFunc(valid, replica.Name.Compare)
	valid = slices.Compact(valid)
	err := s.change(ctx, func(ctx context.Context, at *session) error {
		maps.Copy(failed, at.delete(ctx, valid))
		return nil
	})
	if err != nil {
		for _, name := range valid {
			failed[name] = err
		}
	}
	var errs []error
	for _, name := range names {
		if cause, ok := failed[name]; ok {
			errs = append(errs, replica.NewFileError("delete", name, s.unlessClosed(ctx, cause)))
			delete(failed, name) // named once
		}
	}
	return errors.Join(errs...)
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
