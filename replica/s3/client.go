// Package s3 is the client of a replica in Amazon S3, or in a store that speaks
// its protocol.
//
// Stores differ, and networks fail. So nothing is taken on trust that can be
// checked: that a range is the one asked for, of the version asked for, and
// whole; that a store has what was written; that what was deleted is gone. What
// may pass is tried again, within the caller's deadline, and what doesn't is an
// error.
//
// The package uses the SDK's client, and not its transfer manager: that buffers
// in memory what is on disk, gives up on ranges, and doesn't verify.
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

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica"
)

// Type is what ReplicaClient.Type returns.
const Type = "s3"

var (
	_ replica.Client          = (*ReplicaClient)(nil)
	_ replica.Stater          = (*ReplicaClient)(nil)
	_ replica.ExactStater     = (*ReplicaClient)(nil)
	_ replica.VersionOpener   = (*ReplicaClient)(nil)
	_ replica.VersionWriter   = (*ReplicaClient)(nil)
	_ replica.ExclusiveWriter = (*ReplicaClient)(nil)
)

// ReplicaClient reads and writes a replica in a bucket. All its methods may be
// called at once from many goroutines.
type ReplicaClient struct {
	cfg    Config // complete
	logger atomic.Pointer[slog.Logger]
	conns  *conns

	// What Init finds out. starting is held while it does, as a channel so
	// that those who wait heed their contexts.
	starting chan struct{}
	ready    atomic.Pointer[session]

	// refusesChecksums is set once the store has refused a request because of
	// its checksum headers, and lacksChecksums once it has shown that it
	// returns none.
	refusesChecksums, lacksChecksums atomic.Bool

	// deletesOneByOne is set once the store has refused to delete many objects
	// with one request.
	deletesOneByOne atomic.Bool

	// refusesConditions is set once the store has refused If-None-Match, and
	// wantsMD5 once it has refused a deletion of many objects without Content-MD5.
	refusesConditions, wantsMD5 atomic.Bool

	// life ends with Close, and writing is held by each write, and by Close.
	life    context.Context
	end     context.CancelFunc
	writing *semaphore.Weighted

	// patient are connections for a request that a store may work on for long.
	patient *conns

	// alive is when the bucket was last seen, in Unix nanoseconds.
	alive atomic.Int64

	names   nameLocks
	uploads abandoned
}

// session is what a client knows of its store once it is ready.
type session struct {
	s3     *awss3.Client
	layout replica.Layout

	// root is what stands before a layout's directories in keys.
	root atomic.Pointer[string]

	// doubtful is set while root is one that some stores change, and nothing
	// has shown yet what this store does. settling guards the end of the doubt,
	// and written, which is set once this client has begun to write under it.
	doubtful atomic.Bool
	settling sync.Mutex
	written  bool
}

// keyToWrite is the key of a file that is to be written. The root stays what it is
// then, until it is seen where the file has come to be.
func (s *session) keyToWrite(f replica.File) string {
	s.settling.Lock()
	defer s.settling.Unlock()
	s.written = true
	return s.key(f.Level, f.MinTXID, f.MaxTXID)
}

func newSession(client *awss3.Client, layout replica.Layout, root string) *session {
	s := &session{s3: client, layout: layout}
	s.root.Store(&root)
	return s
}

// New returns a client of the replica that cfg names. It asks no network, and no
// file but that of CA certificates.
func New(cfg Config) (*ReplicaClient, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if _, err := newTLSConfig(cfg); err != nil {
		return nil, err
	}
	patience := cfg.Timeouts
	patience.FirstByte = max(patience.FirstByte, completeTimeout)
	patience.Stall = patience.FirstByte
	c := &ReplicaClient{
		cfg: cfg, conns: newConns(cfg.Timeouts), patient: newConns(patience),
		starting: make(chan struct{}, 1), writing: semaphore.NewWeighted(everyone),
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.refusesChecksums.Store(cfg.NoChecksums)
	c.SetLogger(cfg.Logger)
	return c, nil
}

// Type returns "s3".
func (c *ReplicaClient) Type() string { return Type }

// Layout returns the layout as it was given to New or detected by Init. It is
// the zero layout until then.
func (c *ReplicaClient) Layout() replica.Layout {
	if s := c.ready.Load(); s != nil {
		return s.layout
	}
	return c.cfg.Layout
}

// SetLogger sets where the client tells what it does; nil is slog's default.
func (c *ReplicaClient) SetLogger(logger *slog.Logger) {
	if logger == nil {
		logger = slog.Default()
	}
	c.logger.Store(logger)
}

func (c *ReplicaClient) log() *slog.Logger { return c.logger.Load() }

// Connections is the number of open connections to the store, idle ones among
// them.
func (c *ReplicaClient) Connections() int { return c.conns.count() + c.patient.count() }

// errClientClosed is returned by what is called after Close, or cut short by it.
var errClientClosed = fmt.Errorf("the client is closed: %w", os.ErrClosed)

// completeTimeout is how long a store may take to make an object of its parts,
// without a word: some copy them.
const completeTimeout = 5 * time.Minute

// Close ends what is under way, aborts what failed uploads have left, as far as
// the store answers, and closes all connections. The client can't be used
// afterwards.
func (c *ReplicaClient) Close() error {
	c.end()
	// Long enough for writes to abort their uploads.
	ctx, cancel := context.WithTimeout(context.Background(), 2*c.cfg.Timeouts.CleanUp)
	defer cancel()
	err := c.writing.Acquire(ctx, everyone)
	if err == nil {
		defer c.writing.Release(everyone)
	} else {
		err = fmt.Errorf("wait for writes and deletions to end: %w", err)
	}
	if s := c.ready.Load(); s != nil {
		ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeouts.CleanUp)
		defer cancel()
		err = errors.Join(err, c.abortAbandoned(ctx, s))
	}
	c.conns.close()
	c.patient.close()
	return err
}

// enter begins a write or a deletion, whose context ends with the client. leave
// ends it, and returns its error, or why it was cut short.
func (c *ReplicaClient) enter(ctx context.Context) (_ context.Context, leave func(error) error, err error) {
	if err := c.writing.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	return ctx, func(err error) error {
		stop()
		cancel()
		c.writing.Release(1)
		if err != nil && c.life.Err() != nil && caller.Err() == nil && errors.Is(err, context.Canceled) {
			return errClientClosed
		}
		return err
	}, nil
}

// Init connects: it finds the credentials, the region of an AWS bucket if it
// isn't given, and the layout if it isn't given, with three requests at most for
// a replica as Litestream makes it. Once that has succeeded, it does nothing. The
// other methods call it, so that calling it is only needed to find out early
// what is wrong.
//
// Its error wraps ErrNoSuchBucket, ErrNoCredentials, os.ErrPermission or
// replica.ErrMixedLayouts where one of them is the reason.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.init(ctx)
	return err
}

func (c *ReplicaClient) init(ctx context.Context) (*session, error) {
	if c.life.Err() != nil {
		return nil, errClientClosed
	}
	if s := c.ready.Load(); s != nil {
		return s, ctx.Err()
	}
	select {
	case c.starting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.starting }()
	if s := c.ready.Load(); s != nil {
		return s, ctx.Err()
	}
	s, err := c.start(ctx)
	var e *StoreError
	if errors.As(err, &e) && e.identity {
		// Where there have never been any, the source isn't away for a moment.
		e.is = []error{ErrNoCredentials}
	}
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", c.cfg, err)
	}
	c.ready.Store(s)
	return s, nil
}

func (c *ReplicaClient) start(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	region, err := c.region(ctx)
	if err != nil {
		return nil, err
	}
	client, err := c.connect(ctx, region)
	if err != nil {
		return nil, err
	}
	s := newSession(client, c.cfg.Layout, "")
	if err := c.findReplica(ctx, s); err != nil {
		return nil, err
	}
	c.log().Debug("connected", "replica", c.cfg.String(), "region", region, "layout", s.layout.Name, "root", *s.root.Load())
	return s, nil
}

// levelPrefix is what the keys of a level's files begin with.
func (s *session) levelPrefix(level int) string {
	return *s.root.Load() + s.layout.LevelDir(level) + "/"
}

// key is the key of a file.
func (s *session) key(level int, minTXID, maxTXID ltx.TXID) string {
	return s.levelPrefix(level) + ltx.FormatFilename(minTXID, maxTXID)
}

// fileSession checks a file's name, and returns the session and its key.
func (c *ReplicaClient) fileSession(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (*session, string, error) {
	if err := replica.CheckFile(level, minTXID, maxTXID); err != nil {
		return nil, "", err
	}
	s, err := c.init(ctx)
	if err != nil {
		return nil, "", err
	}
	return s, s.key(level, minTXID, maxTXID), nil
}

// aliveFor is how long the bucket counts as there once it was seen, when a store
// says that an object isn't: its answer to HEAD doesn't tell which is missing.
const aliveFor = 5 * time.Second

func (c *ReplicaClient) sawBucket() { c.alive.Store(time.Now().UnixNano()) }

// whyMissing returns err, but if it says that an object is missing and the whole
// bucket is, then an error that says so.
func (c *ReplicaClient) whyMissing(ctx context.Context, s *session, err error) error {
	var e *StoreError
	if errors.As(err, &e) && e.Code == "NoSuchKey" {
		c.sawBucket()
	}
	if !isNotFound(err) || time.Since(time.Unix(0, c.alive.Load())) < aliveFor {
		return err
	}
	_, herr := s.s3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &c.cfg.Bucket})
	if herr = storeError(ctx, "HeadBucket", herr); isNotFound(herr) {
		return fmt.Errorf("bucket %s: %w", c.cfg.Bucket, ErrNoSuchBucket)
	}
	if herr == nil || errors.Is(herr, os.ErrPermission) {
		c.sawBucket()
	}
	return err
}
