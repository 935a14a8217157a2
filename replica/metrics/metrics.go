// Package metrics counts what is asked of a store, by a store around it.
package metrics

import (
	"context"
	"io"
	"iter"
	"os"
	"sync/atomic"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// New returns a store that does what s does and counts it, each operation once it
// has ended. A body that is abandoned without Close never ends.
func New(s replica.Store, c *Counters) replica.Store {
	return &store{Wrapper: replica.Wrapper{Store: s}, counters: c}
}

type store struct {
	replica.Wrapper
	counters *Counters
}

// measure counts fn, which does something to one file.
func measure[T any](s *store, op Op, fn func() (T, error)) (T, error) {
	begin := time.Now()
	v, err := fn()
	s.counters.add(op, Totals{Files: 1, Took: time.Since(begin)}, err)
	return v, err
}

func (s *store) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		var t Totals
		var last error
		begin := time.Now()
		defer func() {
			t.Took += time.Since(begin)
			s.counters.add(List, t, last)
		}()
		for f, err := range s.Store.LTXFiles(ctx, level, opts) {
			t.Took += time.Since(begin)
			if last = err; err == nil {
				t.Files++
			}
			more := yield(f, err)
			begin = time.Now()
			if !more {
				return
			}
		}
	}
}

func (s *store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	op := Stat
	if opts.ExactTime {
		op = Exact
	}
	return measure(s, op, func() (replica.File, error) { return s.Store.StatLTXFile(ctx, name, opts) })
}

func (s *store) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if f.Check() != nil { // as who asks whether the store opens files has it
		return s.Store.OpenLocal(ctx, f)
	}
	return measure(s, Local, func() (*os.File, error) { return s.Store.OpenLocal(ctx, f) })
}

func (s *store) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	begin := time.Now()
	f, err := s.Store.WriteLTXFile(ctx, name, content, opts)
	s.counters.add(Write, Totals{Files: 1, Bytes: f.Size, Took: time.Since(begin)}, err)
	return f, err
}

func (s *store) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	begin := time.Now()
	err := s.Store.DeleteLTXFiles(ctx, names...)
	s.counters.add(Delete, Totals{Files: int64(len(names)), Took: time.Since(begin)}, err)
	return err
}

func (s *store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	begin := time.Now()
	rc, err := s.Store.OpenLTXFile(ctx, f, offset, size)
	b := &body{rc: rc, counters: s.counters}
	b.took.Store(int64(time.Since(begin)))
	if err != nil {
		b.end(err)
		return nil, err
	}
	return b, nil
}

// body adds a reading up. Close may be called while Read runs.
type body struct {
	rc       io.ReadCloser
	counters *Counters
	bytes    atomic.Int64
	took     atomic.Int64 // nanoseconds
	ended    atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	begin := time.Now()
	n, err := b.rc.Read(p)
	b.took.Add(int64(time.Since(begin)))
	b.bytes.Add(int64(n))
	switch err {
	case nil:
	case io.EOF:
		b.end(nil)
	default:
		b.end(err)
	}
	return n, err
}

func (b *body) Close() error {
	begin := time.Now()
	err := b.rc.Close()
	b.took.Add(int64(time.Since(begin)))
	b.end(err)
	return err
}

func (b *body) end(err error) {
	if !b.ended.Swap(true) {
		b.counters.add(Read, Totals{Files: 1, Bytes: b.bytes.Load(), Took: time.Duration(b.took.Load())}, err)
	}
}
