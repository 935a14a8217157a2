// Package mock is a replica in memory, for the tests of what uses one. It can
// be told to fail, to be slow, and to show writes and deletes late, and it
// counts what is asked of it.
//
//	c := mock.New()
//	c.Put(0, 1, 1, data)                                // as another writer would
//	c.Fail(mock.OpOpen, io.ErrClosedPipe)               // every opening fails
//	c.Inject(mock.Fault{Op: mock.OpRead, Wait: gate})   // reads wait for the test
//	c.SetLag(mock.Lag{Writes: 3})                       // a write shows late
//	c.Calls(mock.OpList)                                // how often was it listed?
//	c.Limit(mock.Stat)                                  // the client as one that can't do more
package mock

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Type is what ReplicaClient.Type returns.
const Type = "mock"

var (
	_ replica.Client          = (*ReplicaClient)(nil)
	_ replica.Stater          = (*ReplicaClient)(nil)
	_ replica.VersionOpener   = (*ReplicaClient)(nil)
	_ replica.VersionWriter   = (*ReplicaClient)(nil)
	_ replica.ExclusiveWriter = (*ReplicaClient)(nil)
)

// ReplicaClient is a replica in memory. It can do what replica.Stater,
// replica.VersionOpener, replica.VersionWriter and replica.ExclusiveWriter ask,
// and its iterators are replica.VersionIterators; see Limit for a client that can
// do less.
//
// All its methods may be called at once from many goroutines.
type ReplicaClient struct {
	mu sync.Mutex

	shown   map[Key]*object // what listings and openings find
	stored  map[Key]*object // what has been written
	pending []*change       // from stored to shown
	lag     Lag
	version uint64
	now     func() time.Time

	listUploadTimes bool

	faults []*activeFault
	counts map[Op]int
	files  map[opKey]int

	bytesRead     int64
	openReaders   int
	openIterators int
}

// Key names a file.
type Key struct {
	Level   int
	MinTXID ltx.TXID
	MaxTXID ltx.TXID
}

func (k Key) String() string {
	return fmt.Sprintf("level %d %s", k.Level, ltx.FormatFilename(k.MinTXID, k.MaxTXID))
}

// object is one version of a file. It never changes.
type object struct {
	data     []byte
	version  replica.Version
	uploaded time.Time
	created  time.Time // in the header, or uploaded
}

// New returns a client of an empty replica.
func New() *ReplicaClient {
	return &ReplicaClient{
		shown:  make(map[Key]*object),
		stored: make(map[Key]*object),
		now:    time.Now,
		counts: make(map[Op]int),
		files:  make(map[opKey]int),
	}
}

// Type returns "mock".
func (c *ReplicaClient) Type() string { return Type }

// Init does nothing but count and meet faults.
func (c *ReplicaClient) Init(ctx context.Context) error {
	if err := c.begin(ctx, OpInit, nil); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// SetLogger does nothing: a mock has nothing to tell.
func (c *ReplicaClient) SetLogger(*slog.Logger) {}

// SetClock sets where the times of uploads come from. It is time.Now at first.
func (c *ReplicaClient) SetClock(now func() time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// ListUploadTimes makes the client one of a store like S3: without useMetadata,
// and from StatLTXFile, the time is that of the upload and not the one in the
// header.
func (c *ReplicaClient) ListUploadTimes(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listUploadTimes = on
}

// Put stores a file as another writer would: at once, without counting and
// without faults.
func (c *ReplicaClient) Put(level int, minTXID, maxTXID ltx.TXID, data []byte) replica.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := Key{level, minTXID, maxTXID}
	o := c.newObject(append([]byte(nil), data...))
	c.settle(key)
	c.stored[key], c.shown[key] = o, o
	return c.file(key, o)
}

// Remove deletes a file as another writer would: at once, without counting and
// without faults.
func (c *ReplicaClient) Remove(level int, minTXID, maxTXID ltx.TXID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := Key{level, minTXID, maxTXID}
	c.settle(key)
	delete(c.stored, key)
	delete(c.shown, key)
}

// Bytes returns a copy of the content of a file that has been stored, shown or
// not yet.
func (c *ReplicaClient) Bytes(level int, minTXID, maxTXID ltx.TXID) (data []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.stored[Key{level, minTXID, maxTXID}]
	if !ok {
		return nil, false
	}
	return append([]byte(nil), o.data...), true
}

// Len is the number of files that have been stored, shown or not yet.
func (c *ReplicaClient) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.stored)
}

// newObject makes a new version of data, which it keeps.
func (c *ReplicaClient) newObject(data []byte) *object {
	c.version++
	o := &object{data: data, uploaded: c.now().UTC(), version: replica.Version(fmt.Sprintf("%016x", c.version))}
	o.created = o.uploaded
	var h ltx.Header
	if h.UnmarshalBinary(data) == nil && h.Validate() == nil {
		o.created = time.UnixMilli(h.Timestamp).UTC()
	}
	return o
}

// file is a file as a listing or a stat has it.
func (c *ReplicaClient) file(key Key, o *object) replica.File {
	f := replica.File{
		Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID,
		Size: int64(len(o.data)), ModTime: o.created, Version: o.version,
	}
	if c.listUploadTimes {
		f.ModTime = o.uploaded
	}
	return f
}
