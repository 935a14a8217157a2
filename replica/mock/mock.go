// Package mock is a replica in memory, for the tests of what uses one. It can
// be told to fail, to be slow, and to show writes and deletes late, and it
// counts what is asked of it.
//
//	s := mock.New()
//	s.Put(0, 1, 1, data)                                // as another writer would
//	s.Fail(mock.OpOpen, io.ErrClosedPipe)               // every opening fails
//	s.Inject(mock.Fault{Op: mock.OpRead, Wait: gate})   // reads wait for the test
//	s.SetLag(mock.Lag{Writes: 3})                       // a write shows late
//	s.Calls(mock.OpList)                                // how often was it listed?
package mock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// Type is what Store.Type returns.
const Type = "mock"

// Store is a replica in memory. A test that needs more of it, such as other
// Properties or a Space, embeds it; for one that knows less, see replica.StoreOf.
//
// All its methods may be called at once from many goroutines.
type Store struct {
	mu sync.Mutex

	shown   map[replica.Name]*object // what listings and openings find
	stored  map[replica.Name]*object // what has been written
	pending []*change                // from stored to shown
	lag     Lag
	version uint64
	now     func() time.Time

	listUploadTimes bool

	faults []*activeFault
	counts map[Op]int
	files  map[opKey]int

	bytesRead    int64
	openReaders  int
	openListings int
}

var _ replica.Store = (*Store)(nil)

// object is one version of a file. It never changes.
type object struct {
	data     []byte
	version  replica.Version
	uploaded time.Time
	created  time.Time // in the header, or uploaded
}

// New returns an empty replica.
func New() *Store {
	return &Store{
		shown:  make(map[replica.Name]*object),
		stored: make(map[replica.Name]*object),
		now:    time.Now,
		counts: make(map[Op]int),
		files:  make(map[opKey]int),
	}
}

// ReplicaClient is a replica in memory, with the methods of Litestream's guide.
type ReplicaClient struct {
	replica.Client
	store *Store
}

// NewReplicaClient returns a client of s.
func NewReplicaClient(s *Store) *ReplicaClient {
	return &ReplicaClient{Client: replica.ClientOf(s), store: s}
}

// Init does nothing but count and meet faults.
func (c *ReplicaClient) Init(ctx context.Context) error {
	if err := c.store.begin(ctx, OpInit, nil); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// SetLogger does nothing: a mock has nothing to tell.
func (c *ReplicaClient) SetLogger(*slog.Logger) {}

// Type returns "mock".
func (s *Store) Type() string { return Type }

// Properties returns none.
func (s *Store) Properties() replica.Properties { return replica.Properties{} }

// Space returns an error that wraps errors.ErrUnsupported.
func (s *Store) Space(context.Context) (replica.Space, error) {
	return replica.Space{}, fmt.Errorf("the space in memory: %w", errors.ErrUnsupported)
}

// SetClock sets where the times of uploads come from. It is time.Now at first.
func (s *Store) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// ListUploadTimes makes the store one like S3: without exact times, the time is the
// upload's and not the header's.
func (s *Store) ListUploadTimes(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listUploadTimes = on
}

// Put stores a file as another writer would: at once, without counting and
// without faults.
func (s *Store) Put(level int, minTXID, maxTXID ltx.TXID, data []byte) replica.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	o := s.newObject(append([]byte(nil), data...))
	s.forget(name)
	s.stored[name], s.shown[name] = o, o
	return s.file(name, o)
}

// Remove deletes a file as another writer would: at once, without counting and
// without faults.
func (s *Store) Remove(level int, minTXID, maxTXID ltx.TXID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	s.forget(name)
	delete(s.stored, name)
	delete(s.shown, name)
}

// Bytes returns a copy of the content of a file that has been stored, shown or
// not yet.
func (s *Store) Bytes(level int, minTXID, maxTXID ltx.TXID) (data []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.stored[replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}]
	if !ok {
		return nil, false
	}
	return append([]byte(nil), o.data...), true
}

// Len is the number of files that have been stored, shown or not yet.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

// newObject makes a new version of data, which it keeps.
func (s *Store) newObject(data []byte) *object {
	s.version++
	o := &object{data: data, uploaded: s.now().UTC()}
	o.version = replica.Version{
		ETag: fmt.Sprintf(`"%016x"`, s.version), Modified: o.uploaded.Unix(), Size: int64(len(data)),
	}
	o.created = o.uploaded
	if t, ok := ltxfile.HeaderTime(data); ok {
		o.created = t
	}
	return o
}

// file is a file as a listing or a stat has it.
func (s *Store) file(name replica.Name, o *object) replica.File {
	f := replica.File{Name: name, Size: int64(len(o.data)), ModTime: o.created, Version: o.version}
	if s.listUploadTimes {
		f.ModTime = o.uploaded
	}
	return f
}
