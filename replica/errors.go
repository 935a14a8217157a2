package replica

import (
	"errors"
	"fmt"
	"os"
)

var (
	// ErrReplaced means that a name holds another version than the one asked
	// for: the file was replaced, or was deleted and written again.
	ErrReplaced = errors.New("the file was replaced by another version")

	// ErrChanged means that content is another than was verified, so that nothing
	// of it was published.
	ErrChanged = errors.New("the bytes have changed since they were verified")

	// ErrUnavailable means that the store itself is gone: a disk that isn't
	// mounted any more, a directory that was renamed. What it held may be
	// whole, so that nothing may be concluded about any file.
	ErrUnavailable = errors.New("the replica's store is not there")

	// ErrMixedLayouts means that a store holds files in two layouts, so that
	// neither is the whole replica.
	ErrMixedLayouts = errors.New("the store holds LTX files in two layouts")

	// ErrLitestream03 means that a store has what Litestream wrote before 0.5, and
	// no LTX files.
	ErrLitestream03 = errors.New("this is a replica of Litestream 0.3, which has no LTX files: " +
		"restore it with Litestream 0.3, or mount what Litestream 0.5 or later has written")
)

// FileError is an error of one operation on one file of a replica.
type FileError struct {
	Op   string // "open", "read", "write", "verify", "stat", "delete"
	Name Name
	Err  error
}

// NewFileError wraps err with the operation and the file, or returns nil if err
// is nil.
func NewFileError(op string, name Name, err error) error {
	if err == nil {
		return nil
	}
	return &FileError{Op: op, Name: name, Err: err}
}

func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Name, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

// CheckLevel returns an error that wraps os.ErrInvalid unless a replica can
// have that level.
func CheckLevel(level int) error {
	if level < MinLevel || level > MaxLevel {
		return fmt.Errorf("level %d is not between %d and %d: %w", level, MinLevel, MaxLevel, os.ErrInvalid)
	}
	return nil
}

// CheckRange returns an error that wraps os.ErrInvalid unless offset and size
// name a range.
func CheckRange(offset, size int64) error {
	if offset < 0 || size < 0 {
		return fmt.Errorf("offset %d and size %d must not be negative: %w", offset, size, os.ErrInvalid)
	}
	return nil
}
