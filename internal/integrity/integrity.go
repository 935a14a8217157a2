// Package integrity has SQLite check databases.
package integrity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
	"modernc.org/sqlite/vfs"

	"github.com/ltxfs/ltxfs/internal/database"
)

// Check is how a database is checked.
type Check string

// The checks.
const (
	None  Check = "none"
	Quick Check = "quick" // PRAGMA quick_check: not whether indexes have what their tables have
	Full  Check = "full"  // PRAGMA integrity_check
)

// Parse parses the name of a check.
func Parse(text string) (Check, error) {
	switch c := Check(text); c {
	case None, Quick, Full:
		return c, nil
	}
	return None, fmt.Errorf("%q: it must be none, quick or full", text)
}

// File checks a database on disk, which it doesn't change. It returns what SQLite finds
// fault with.
func (c Check) File(ctx context.Context, path string) (faults []string, err error) {
	return c.run(ctx, path, "")
}

// State checks a state, read page by page. read is called with how many bytes were.
func (c Check) State(ctx context.Context, s *database.State, read func(n int64)) (faults []string, err error) {
	r, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	one := &stateFS{ctx: ctx, state: s, reader: r, read: read}
	name, registered, err := vfs.New(one)
	if err != nil {
		return nil, err
	}
	defer registered.Close()
	faults, err = c.run(ctx, stateName, name)
	if one.err != nil { // of which SQLite's tells nothing
		return nil, one.err
	}
	return faults, err
}

// run checks a database that nobody writes to, as SQLite is told: so it needs no files
// beside it, be it in WAL mode.
func (c Check) run(ctx context.Context, path, vfsName string) (faults []string, err error) {
	if c == None {
		return nil, nil
	}
	query := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"temp_store(memory)"}}
	if vfsName != "" {
		query.Set("vfs", vfsName)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	pragma := "PRAGMA integrity_check"
	if c == Quick {
		pragma = "PRAGMA quick_check"
	}
	rows, err := db.QueryContext(ctx, pragma)
	if err != nil {
		return fault(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		if text != "ok" {
			faults = append(faults, text)
		}
	}
	if err := rows.Err(); err != nil {
		return fault(ctx, err)
	}
	return faults, nil
}

// fault makes what SQLite can't read as a database a fault of it. Other errors are none: such
// as that an application's collation isn't there, without which an index can't be checked.
func fault(ctx context.Context, err error) ([]string, error) {
	var e *sqlite.Error
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB):
		return []string{err.Error()}, nil
	}
	return nil, fmt.Errorf("SQLite can't check it: %w", err)
}

// stateName is the name of the one file in a stateFS.
const stateName = "state.db"

// stateFS is a directory with a state as its one file.
type stateFS struct {
	ctx    context.Context
	state  *database.State
	reader *database.Reader
	read   func(n int64)
	err    error // of reading it
}

func (s *stateFS) Open(name string) (fs.File, error) {
	if name != stateName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &stateFile{stateFS: s}, nil
}

type stateFile struct {
	*stateFS
	off int64
}

func (f *stateFile) Close() error { return nil }

func (f *stateFile) Stat() (fs.FileInfo, error) { return stateInfo{f.state}, nil }

func (f *stateFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.off
	case io.SeekEnd:
		off += f.state.Size()
	}
	f.off = off
	return off, nil
}

func (f *stateFile) Read(p []byte) (int, error) {
	if f.off >= f.state.Size() {
		return 0, io.EOF
	}
	n, err := f.reader.ReadAt(f.ctx, p, f.off)
	if err != nil {
		f.err = err
	}
	f.off += int64(n)
	f.read(int64(n))
	return n, err
}

type stateInfo struct{ s *database.State }

func (i stateInfo) Name() string       { return stateName }
func (i stateInfo) Size() int64        { return i.s.Size() }
func (i stateInfo) Mode() fs.FileMode  { return 0o444 }
func (i stateInfo) ModTime() time.Time { return i.s.Time() }
func (i stateInfo) IsDir() bool        { return false }
func (i stateInfo) Sys() any           { return nil }
