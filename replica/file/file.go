// Package file keeps a replica in a directory on disk.
//
// It trusts the directory to no more than the file system promises: it is used
// by other writers at the same time, Litestream among them, and may hold
// strangers' files. Those it neither shows, nor follows, nor deletes.
package file

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Type is what Store.Type returns.
const Type = "file"

// freshness is how old a listing may be. A directory is read in no time.
const freshness = time.Second

// Store reads and writes a replica in a directory. All its methods may be called at
// once from many goroutines.
type Store struct {
	*directory
	sys   system
	swept sync.Map // paths of the directories that were swept
}

var _ replica.Store = (*Store)(nil)

// New returns the replica in the directory path. The zero layout is detected by
// Init.
func New(path string, layout replica.Layout) *Store {
	s := &Store{directory: &directory{path: path, given: layout}, sys: defaultSystem()}
	s.SetLogger(nil)
	return s
}

// Type returns "file".
func (s *Store) Type() string { return Type }

// Properties are those of a local disk.
func (s *Store) Properties() replica.Properties {
	return replica.Properties{Freshness: freshness, Local: true}
}

// ReplicaClient is a replica in a directory, with the methods of Litestream's
// guide.
type ReplicaClient struct {
	replica.Client
	*directory
}

// NewReplicaClient returns a client of s.
func NewReplicaClient(s *Store) *ReplicaClient {
	return &ReplicaClient{Client: replica.ClientOf(s), directory: s.directory}
}

// DeleteAll deletes every file of the replica, and what killed writers have left.
// Anything else stays, the directories too.
func (c *ReplicaClient) DeleteAll(ctx context.Context) error {
	err := c.Client.DeleteAll(ctx)
	for level := replica.MinLevel; level <= replica.MaxLevel && ctx.Err() == nil; level++ {
		path, perr := c.levelDir(ctx, level)
		if perr != nil {
			break // as the other has found
		}
		if serr := sweepDir(ctx, c.log(), path); !isMissing(serr) {
			err = errors.Join(err, serr)
		}
	}
	return err
}
