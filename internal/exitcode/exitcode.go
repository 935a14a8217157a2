// Package exitcode names the exit codes of ltxfs and ties errors to them. Their numbers
// are part of the command's interface.
package exitcode

import (
	"errors"
	"fmt"
)

// Code is an exit code of the ltxfs command.
type Code int

// The exit codes. Their numbers never change. The manual has these words.
const (
	OK             Code = 0  // all went well, and nothing is left unpublished
	Failure        Code = 1  // anything without a code of its own
	Usage          Code = 2  // the command line, the environment or the configuration file is wrong
	NoReplica      Code = 3  // the replica doesn't exist, can't be reached, or can't be mounted as it is
	BadMountpoint  Code = 4  // the mountpoint is missing, no directory, not empty, or in the replica
	AlreadyMounted Code = 5  // a live ltxfs mount is there
	NoFUSE         Code = 6  // `/dev/fuse` or fusermount3 is missing, or the system isn't Linux
	Permission     Code = 7  // the user may not do this, or the store refuses the credentials
	Unpublished    Code = 8  // files that were written are not in the replica, but in the staging directory
	Busy           Code = 9  // a process uses the mount
	Timeout        Code = 10 // a daemon, a mount or a store didn't answer in time
	NotMounted     Code = 11 // no ltxfs mount is there
	Staging        Code = 12 // the staging directory can't be used
	Damaged        Code = 13 // the replica is damaged, or what was asked for can't be restored from it
	Undetermined   Code = 14 // `verify` couldn't read what it had to, so that a question stayed open
)

var names = [...]string{
	OK:             "ok",
	Failure:        "failure",
	Usage:          "usage",
	NoReplica:      "no-replica",
	BadMountpoint:  "bad-mountpoint",
	AlreadyMounted: "already-mounted",
	NoFUSE:         "no-fuse",
	Permission:     "permission",
	Unpublished:    "unpublished",
	Busy:           "busy",
	Timeout:        "timeout",
	NotMounted:     "not-mounted",
	Staging:        "staging",
	Damaged:        "damaged",
	Undetermined:   "undetermined",
}

// String is the code's name, as the manual has it.
func (c Code) String() string {
	if c >= 0 && int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", int(c))
}

// codedError is an error that ends the command with a code.
type codedError struct {
	code Code
	err  error

	// reported means that the user has been told already.
	reported bool
}

func (e *codedError) Error() string { return e.err.Error() }

func (e *codedError) Unwrap() error { return e.err }

// Errorf is fmt.Errorf for an error that ends the command with code.
func Errorf(code Code, format string, args ...any) error {
	return &codedError{code: code, err: fmt.Errorf(format, args...)}
}

// Wrap gives err a code, or returns nil if err is nil. A code that err has
// already is kept.
func Wrap(code Code, err error) error {
	var coded *codedError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &codedError{code: code, err: err}
}

// Reported is an error that ends the command with code, of which the user has
// been told: nothing more is printed.
func Reported(code Code) error {
	return &codedError{code: code, err: fmt.Errorf("exit code %d (%s)", int(code), code), reported: true}
}

// IsReported reports whether the user has been told of err.
func IsReported(err error) bool {
	var coded *codedError
	return errors.As(err, &coded) && coded.reported
}

// Of is the code that err ends the command with: OK for nil, Failure for an
// error without a code.
func Of(err error) Code {
	var coded *codedError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &coded):
		return coded.code
	}
	return Failure
}
