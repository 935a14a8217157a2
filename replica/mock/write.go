package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ltxfs/ltxfs/replica"
)

// WriteLTXFile stores content. It shows after the lag; see SetLag. An exclusive
// write fails if a file of that name has been stored, shown or not yet.
func (s *Store) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	f, err := s.write(ctx, name, content, opts)
	return f, replica.NewFileError("write", name, err)
}

func (s *Store) write(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	if err := name.Check(); err != nil {
		return replica.File{}, err
	}
	if err := s.begin(ctx, OpWrite, &name); err != nil {
		return replica.File{}, err
	}
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(opts.Reader(ctx, content)); err != nil {
		return replica.File{}, err
	}
	if err := s.begin(ctx, OpPublish, &name); err != nil {
		return replica.File{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if opts.Exclusive && s.stored[name] != nil {
		return replica.File{}, os.ErrExist
	}
	o := s.newObject(buf.Bytes())
	s.change(name, o)
	f := s.file(name, o)
	f.ModTime = o.created // which the writer knows, whatever a listing tells
	return f, nil
}

// DeleteLTXFiles deletes files. They vanish after the lag; see SetLag.
func (s *Store) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	var errs []error
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete files: %d of %d are left: %w", len(names)-i, len(names), err))
			break
		}
		errs = append(errs, replica.NewFileError("delete", name, s.delete(ctx, name)))
	}
	return errors.Join(errs...)
}

func (s *Store) delete(ctx context.Context, name replica.Name) error {
	if err := name.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx, OpDelete, &name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored[name] != nil {
		s.change(name, nil)
	}
	return nil
}
