package mock

import (
	"context"
	"io"
	"math"
	"os"

	"github.com/ltxfs/ltxfs/replica"
)

// StatLTXFile returns a file as the store shows it. With ExactTime, it costs one
// OpHead as well.
func (s *Store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	f, err := s.stat(ctx, name, opts)
	if err != nil {
		return replica.File{}, replica.NewFileError("stat", name, err)
	}
	return f, nil
}

func (s *Store) stat(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	if err := name.Check(); err != nil {
		return replica.File{}, err
	}
	if err := s.begin(ctx, OpStat, &name); err != nil {
		return replica.File{}, err
	}
	s.mu.Lock()
	s.look()
	o := s.shown[name]
	if o == nil {
		s.mu.Unlock()
		return replica.File{}, os.ErrNotExist
	}
	f := s.file(name, o)
	s.mu.Unlock()
	if !opts.ExactTime {
		return f, nil
	}
	err := s.exact(ctx, &f, o, replica.ListOptions{})
	return f, err
}

// OpenLTXFile reads a file as the store shows it. If it is replaced or deleted
// after it was opened, the reader goes on with the old one.
func (s *Store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	r, err := s.open(ctx, f, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	return r, nil
}

func (s *Store) open(ctx context.Context, f replica.File, offset, size int64) (*reader, error) {
	if err := f.Name.Check(); err != nil {
		return nil, err
	}
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, OpOpen, &f.Name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	o := s.shown[f.Name]
	switch {
	case o == nil:
		return nil, os.ErrNotExist
	case !f.Version.IsZero() && o.version != f.Version:
		return nil, replica.ErrReplaced
	}
	data := o.data[min(offset, int64(len(o.data))):]
	if size > 0 && offset <= math.MaxInt64-size {
		data = data[:min(size, int64(len(data)))]
	}
	s.openReaders++
	return &reader{store: s, ctx: ctx, name: f.Name, data: data}, nil
}

// OpenLocal returns an error that wraps errors.ErrUnsupported.
func (s *Store) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return replica.Wrapper{Store: s}.OpenLocal(ctx, f)
}

// reader reads a range of an object. Close may be called while Read runs.
type reader struct {
	store *Store
	ctx   context.Context
	name  replica.Name
	data  []byte // that is left
	read  int64  // bytes handed out

	closed bool // under the store's lock
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.next(p)
	if err == io.EOF {
		return n, err
	}
	return n, replica.NewFileError("read", r.name, err)
}

func (r *reader) next(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	s := r.store
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return 0, os.ErrClosed
	}
	s.counts[OpRead]++
	s.files[opKey{OpRead, r.name}]++
	faults := s.meet(OpRead, &r.name, r.read)
	// A fault further on in the data must not be read over.
	for _, f := range s.faults {
		if left := f.AfterBytes - r.read; f.Op == OpRead && left > 0 && left < int64(len(p)) {
			p = p[:left]
		}
	}
	s.mu.Unlock()
	if err := suffer(r.ctx, faults); err != nil {
		return 0, err
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	r.read += int64(n)
	s.mu.Lock()
	s.bytesRead += int64(n)
	s.mu.Unlock()
	return n, nil
}

func (r *reader) Close() error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	r.closed = true
	r.store.openReaders--
	return nil
}
