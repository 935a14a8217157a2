package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// Properties of a store of which nothing is known.
const (
	clientFreshness = 5 * time.Second
	clientSettle    = 2 * time.Second
	clientRequests  = 64
)

// StoreOf returns a store that uses anybody's client. A client knows less than a
// Store wants:
//
//   - A version is the size and the second that a listing shows. To stat a file is a
//     listing from its TXID on. An exact time is read from the file's header.
//   - A version that is read is looked for again at the end of each body. Its bytes
//     are known to be the version's only once Read has returned io.EOF or Close nil.
//   - An exclusive write looks for the name first: another writer may come between.
//   - There is no Space and no OpenLocal.
func StoreOf(c Client) Store { return &clientStore{client: c} }

type clientStore struct{ client Client }

func (s *clientStore) Type() string { return s.client.Type() }

func (s *clientStore) Properties() Properties {
	return Properties{Freshness: clientFreshness, Settle: clientSettle, Requests: clientRequests}
}

// clientError names the operation and the file in an error of a client, unless it
// does so itself.
func clientError(op string, name Name, err error) error {
	var fe *FileError
	if errors.As(err, &fe) {
		return err
	}
	return NewFileError(op, name, err)
}

func (s *clientStore) LTXFiles(ctx context.Context, level int, opts ListOptions) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		if err := s.list(ctx, level, opts, yield); err != nil {
			if errors.Is(err, os.ErrNotExist) { // a level that is missing is an empty one
				err = fmt.Errorf("%w: %v", ErrUnavailable, err)
			}
			yield(File{}, fmt.Errorf("list level %d: %w", level, err))
		}
	}
}

// list returns nil if yield ends it.
func (s *clientStore) list(ctx context.Context, level int, opts ListOptions, yield func(File, error) bool) error {
	if err := cmp.Or(CheckLevel(level), ctx.Err()); err != nil {
		return err
	}
	it, err := s.client.LTXFiles(ctx, level, opts.From, false)
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Next() {
		f := fileOf(it.Item())
		if f.Check() != nil {
			continue // a name that no file can have
		}
		if opts.ExactTimes && !opts.SetKnownTime(&f) {
			if f.ModTime, err = s.exactTime(ctx, f); errors.Is(err, os.ErrNotExist) {
				continue // it has vanished
			} else if err != nil {
				return err
			}
		}
		if !yield(f, nil) {
			return nil
		}
	}
	return cmp.Or(it.Err(), it.Close()) // clients exist that tell an error by one of them only
}

func fileOf(info *ltx.FileInfo) File {
	return File{
		Name:    Name{info.Level, info.MinTXID, info.MaxTXID},
		Size:    info.Size,
		ModTime: info.CreatedAt,
		Version: Version{Size: info.Size, Modified: info.CreatedAt.Unix()},
	}
}

// exactTime is the time in the header of f, if it has one. A client can list the
// exact times too, but then not those that versions are made of.
func (s *clientStore) exactTime(ctx context.Context, f File) (time.Time, error) {
	rc, err := s.client.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, 0, ltx.HeaderSize)
	if err != nil {
		return time.Time{}, err
	}
	header, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return time.Time{}, err
	}
	if t, ok := ltxfile.HeaderTime(header); ok {
		return t, nil
	}
	return f.ModTime, nil
}

func (s *clientStore) StatLTXFile(ctx context.Context, name Name, opts StatOptions) (File, error) {
	if err := name.Check(); err != nil {
		return File{}, NewFileError("stat", name, err)
	}
	for f, err := range s.LTXFiles(ctx, name.Level, ListOptions{From: name.MinTXID, ExactTimes: opts.ExactTime}) {
		if err != nil {
			return File{}, NewFileError("stat", name, err)
		}
		if f.Name == name {
			return f, nil
		}
		if f.Compare(name) > 0 {
			break
		}
	}
	return File{}, NewFileError("stat", name, os.ErrNotExist)
}

func (s *clientStore) OpenLTXFile(ctx context.Context, f File, offset, size int64) (io.ReadCloser, error) {
	if err := cmp.Or(f.Check(), CheckRange(offset, size), ctx.Err()); err != nil {
		return nil, NewFileError("open", f.Name, err)
	}
	rc, err := s.client.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, offset, size)
	if err != nil {
		return nil, clientError("open", f.Name, err)
	}
	b := &clientBody{ReadCloser: rc, name: f.Name}
	b.check = sync.OnceValue(func() error {
		if f.Version.IsZero() {
			return nil
		}
		now, err := s.StatLTXFile(ctx, f.Name, StatOptions{})
		if errors.Is(err, os.ErrNotExist) || err == nil && now.Version != f.Version {
			err = ErrReplaced
		}
		return NewFileError("read", f.Name, err)
	})
	return b, nil
}

// clientBody is a body at whose end the version must still be what was asked for.
type clientBody struct {
	io.ReadCloser
	name  Name
	check func() error
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != io.EOF {
		return n, clientError("read", b.name, err)
	}
	if err := b.check(); err != nil {
		return 0, err
	}
	return n, io.EOF
}

func (b *clientBody) Close() error { return errors.Join(b.ReadCloser.Close(), b.check()) }

func (s *clientStore) WriteLTXFile(ctx context.Context, name Name, content Content, opts WriteOptions) (File, error) {
	if err := cmp.Or(name.Check(), ctx.Err()); err != nil {
		return File{}, NewFileError("write", name, err)
	}
	if opts.Exclusive {
		_, err := s.StatLTXFile(ctx, name, StatOptions{})
		if err == nil {
			err = os.ErrExist
		}
		if !errors.Is(err, os.ErrNotExist) {
			return File{}, NewFileError("write", name, err)
		}
	}
	info, err := s.client.WriteLTXFile(ctx, name.Level, name.MinTXID, name.MaxTXID, opts.Reader(ctx, content))
	if err != nil {
		return File{}, clientError("write", name, err)
	}
	// The version has the time in a listing, which may differ from the write's.
	// If another has written or deleted the file since, then this one's is gone,
	// and the write has succeeded.
	f := fileOf(info)
	now, err := s.StatLTXFile(ctx, name, StatOptions{})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return File{}, NewFileError("write", name, fmt.Errorf("the file is there, but what it is now isn't known: %w", err))
	}
	if err == nil {
		f.Version.Modified = now.Version.Modified
	}
	return f, nil
}

func (s *clientStore) DeleteLTXFiles(ctx context.Context, names ...Name) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete files: all %d are left: %w", len(names), err)
	}
	var errs []error
	infos := make([]*ltx.FileInfo, 0, len(names))
	for _, name := range names {
		if err := name.Check(); err != nil {
			errs = append(errs, NewFileError("delete", name, err))
			continue
		}
		infos = append(infos, File{Name: name}.Info())
	}
	if len(infos) > 0 {
		errs = append(errs, s.client.DeleteLTXFiles(ctx, infos))
	}
	return errors.Join(errs...)
}

func (s *clientStore) OpenLocal(ctx context.Context, f File) (*os.File, error) {
	return Wrapper{s}.OpenLocal(ctx, f)
}

func (s *clientStore) Space(context.Context) (Space, error) {
	return Space{}, fmt.Errorf("the space of a store of type %s: %w", s.Type(), errors.ErrUnsupported)
}
