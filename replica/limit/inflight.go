package limit

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica"
)

// InFlight is a limit on the operations that are under way at a time, on all stores that it is
// put around. More wait for their turn, in the order in which they came, for as
// long as their contexts let them.
//
// A write, delete or stat holds its place while it runs. A body that is being
// read holds one until its end, an error, or Close, and at the longest until its
// context is done, when it can't be read any more: one that was abandoned doesn't
// starve the others. A listing holds one only while it gets the next file, since
// nobody knows how long its caller takes over each; one in any order, throughout,
// as it would else wait for its turn with each file. Who opens several bodies at
// once, or reads the store while it writes to it, needs as many places.
//
// Writes, which take as long as their files are large, have half of the places, and of
// an odd number the larger half: what else is asked of the store doesn't wait for them.
type InFlight struct {
	n      int
	places *semaphore.Weighted // nil without a limit
	writes *semaphore.Weighted // taken before a place
}

// NewInFlight returns a limit of n operations. 0 or less is none.
func NewInFlight(n int) *InFlight {
	if n <= 0 {
		return &InFlight{}
	}
	return &InFlight{n, semaphore.NewWeighted(int64(n)), semaphore.NewWeighted(int64(n+1) / 2)}
}

// Around returns a store that keeps to the limit.
func (l *InFlight) Around(s replica.Store) replica.Store {
	if l.places == nil {
		return s
	}
	return &inFlight{replica.Wrapper{Store: s}, l}
}

type inFlight struct {
	replica.Wrapper
	*InFlight
}

// Properties are the store's, with as many operations at a time as it really takes.
func (l *inFlight) Properties() replica.Properties {
	p := l.Store.Properties()
	if p.Requests == 0 || p.Requests > l.n {
		p.Requests = l.n
	}
	return p
}

// enter waits for a place, which leave gives back.
func (l *inFlight) enter(ctx context.Context) error { return acquire(ctx, l.places) }

func acquire(ctx context.Context, s *semaphore.Weighted) error {
	if err := s.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for requests in flight: %w", err)
	}
	return nil
}

func (l *inFlight) leave() { l.places.Release(1) }

// within does something to a file in a place.
func within[T any](ctx context.Context, l *inFlight, op string, name replica.Name, do func() (T, error)) (v T, err error) {
	if err := l.enter(ctx); err != nil {
		return v, replica.NewFileError(op, name, err)
	}
	defer l.leave()
	return do()
}

// filesATurn is for how many files a listing in any order keeps its place: to wait for each of them would
// take longer than they do.
const filesATurn = 1000

func (l *inFlight) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		fail := func(err error) { yield(replica.File{}, fmt.Errorf("list level %d: %w", level, err)) }
		if err := l.enter(ctx); err != nil {
			fail(err)
			return
		}
		inside := true
		defer func() {
			if inside {
				l.leave()
			}
		}()
		n := 0
		for f, err := range l.Store.LTXFiles(ctx, level, opts) {
			if n++; opts.AnyOrder && err == nil && n%filesATurn != 0 {
				if !yield(f, nil) {
					return
				}
				continue
			}
			l.leave()
			inside = false
			if !yield(f, err) || err != nil {
				return
			}
			if err := l.enter(ctx); err != nil {
				fail(err)
				return
			}
			inside = true
		}
	}
}

func (l *inFlight) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	return within(ctx, l, "stat", name, func() (replica.File, error) { return l.Store.StatLTXFile(ctx, name, opts) })
}

func (l *inFlight) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if err := l.enter(ctx); err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	b := &held{leave: sync.OnceFunc(l.leave)}
	defer func() {
		if b.ReadCloser == nil {
			b.leave() // also after a panic
		}
	}()
	rc, err := l.Store.OpenLTXFile(ctx, f, offset, size)
	if err != nil {
		return nil, err
	}
	b.ReadCloser = rc
	b.unwatch = context.AfterFunc(ctx, b.leave)
	return b, nil
}

// held is a body that holds a place.
type held struct {
	io.ReadCloser
	leave   func()
	unwatch func() bool
}

func (b *held) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

func (b *held) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

func (b *held) done() {
	b.unwatch()
	b.leave()
}

// OpenLocal opens a file in a place. What the kernel then reads holds none.
func (l *inFlight) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return within(ctx, l, "open", f.Name, func() (*os.File, error) { return l.Store.OpenLocal(ctx, f) })
}

func (l *inFlight) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	if err := acquire(ctx, l.writes); err != nil {
		return replica.File{}, replica.NewFileError("write", name, err)
	}
	defer l.writes.Release(1)
	return within(ctx, l, "write", name, func() (replica.File, error) {
		return l.Store.WriteLTXFile(ctx, name, content, opts)
	})
}

func (l *inFlight) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("delete files: all %d are left: %w", len(names), err)
	}
	defer l.leave()
	return l.Store.DeleteLTXFiles(ctx, names...)
}
