package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"

	"github.com/superfly/ltx"
)

// Wrapper is a client around a client. It may have every optional interface and
// pass each on, whatever the client that it wraps can do, since As looks through
// it. What must not get past it, it simply doesn't have.
type Wrapper interface {
	Client

	// Unwrap returns the client inside.
	Unwrap() Client
}

// As returns c as one of the optional interfaces. It is what callers use instead
// of a type assertion: of a Wrapper it also asks what it wraps, and so on, so
// that a client can do what all the clients around it let through, and no more.
func As[T any](c Client) (T, bool) {
	t, ok := c.(T)
	if w, wraps := c.(Wrapper); ok && wraps {
		_, ok = As[T](w.Unwrap())
	}
	if !ok {
		var none T
		return none, false
	}
	return t, true
}

// Inner returns c as one of the optional interfaces, for a client around it that
// has the interface itself. Without it, the error wraps errors.ErrUnsupported: only a
// caller that didn't ask As gets so far.
func Inner[T any](c Client) (T, error) {
	t, ok := As[T](c)
	if !ok {
		return t, fmt.Errorf("a replica of type %s is no %v: %w", c.Type(), reflect.TypeFor[T](), errors.ErrUnsupported)
	}
	return t, nil
}

// Around is a client around Client that passes everything on, to be embedded in
// one that changes some of it. It is no LocalOpener: what a client around another
// does to reading, the kernel would not do, so that each must decide.
type Around struct{ Client }

var (
	_ Wrapper         = Around{}
	_ Stater          = Around{}
	_ ExactStater     = Around{}
	_ VersionOpener   = Around{}
	_ VersionWriter   = Around{}
	_ ExclusiveWriter = Around{}
	_ Spacer          = Around{}
)

// Unwrap implements Wrapper.
func (a Around) Unwrap() Client { return a.Client }

// Init calls the Init of the client inside if it has one.
func (a Around) Init(ctx context.Context) error {
	if c, ok := a.Client.(interface{ Init(context.Context) error }); ok {
		return c.Init(ctx)
	}
	return nil
}

// SetLogger calls the SetLogger of the client inside if it has one.
func (a Around) SetLogger(logger *slog.Logger) {
	if c, ok := a.Client.(interface{ SetLogger(*slog.Logger) }); ok {
		c.SetLogger(logger)
	}
}

// StatLTXFile implements Stater.
func (a Around) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (File, error) {
	c, err := Inner[Stater](a.Client)
	if err != nil {
		return File{}, NewFileError("stat", level, minTXID, maxTXID, err)
	}
	return c.StatLTXFile(ctx, level, minTXID, maxTXID)
}

// StatLTXFileExact implements ExactStater.
func (a Around) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (File, error) {
	c, err := Inner[ExactStater](a.Client)
	if err != nil {
		return File{}, NewFileError("stat", level, minTXID, maxTXID, err)
	}
	return c.StatLTXFileExact(ctx, level, minTXID, maxTXID)
}

// OpenLTXFileVersion implements VersionOpener.
func (a Around) OpenLTXFileVersion(ctx context.Context, f File, offset, size int64) (io.ReadCloser, error) {
	c, err := Inner[VersionOpener](a.Client)
	if err != nil {
		return nil, NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return c.OpenLTXFileVersion(ctx, f, offset, size)
}

// WriteLTXFileVersion implements VersionWriter.
func (a Around) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error) {
	c, err := Inner[VersionWriter](a.Client)
	if err != nil {
		return File{}, NewFileError("write", level, minTXID, maxTXID, err)
	}
	return c.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
}

// WriteLTXFileExclusive implements ExclusiveWriter.
func (a Around) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error) {
	c, err := Inner[ExclusiveWriter](a.Client)
	if err != nil {
		return File{}, NewFileError("write", level, minTXID, maxTXID, err)
	}
	return c.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, r)
}

// Space implements Spacer.
func (a Around) Space(ctx context.Context) (Space, error) {
	c, err := Inner[Spacer](a.Client)
	if err != nil {
		return Space{}, err
	}
	return c.Space(ctx)
}
