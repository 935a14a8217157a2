package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// errAgain tells the kernel that the name means another inode by now. For an
// open, it looks the name up anew and tries once more.
const errAgain = syscall.ESTALE

// errnos are the errors that callers can tell apart. The first that an error wraps
// counts.
var errnos = []struct {
	err error
	is  syscall.Errno
}{
	{replica.ErrReplaced, syscall.ESTALE},
	{ltxfile.ErrName, syscall.EINVAL},
	{ltxfile.ErrInvalid, syscall.EBADMSG},
	{replica.ErrChanged, syscall.EBADMSG},
	{staging.ErrTaken, syscall.EEXIST},
	{os.ErrExist, syscall.EEXIST},
	{staging.ErrPublished, syscall.EPERM},
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{os.ErrNotExist, syscall.ENOENT},
	{syscall.ENOSPC, syscall.ENOSPC},
	{syscall.EDQUOT, syscall.ENOSPC},
	{syscall.EROFS, syscall.EROFS},
	{os.ErrPermission, syscall.EACCES},
}

// chosen are the errnos of a length, an offset, a mode or a name that the caller
// chose, where it is the staging disk that refuses them.
var chosen = []syscall.Errno{syscall.EINVAL, syscall.EFBIG, syscall.EOPNOTSUPP, syscall.ENAMETOOLONG}

// everyday are the errnos of what callers do wrong every day.
var everyday = []syscall.Errno{0, syscall.EEXIST, syscall.ENOENT, syscall.EPERM, syscall.ESTALE}

// errno is the one place where errors become what a caller sees. The log says the
// rest. An error that wraps one of passed keeps it, if the table has nothing else.
func errno(err error, passed ...syscall.Errno) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return row.is
		}
	}
	// Networks and disks have deadlines of their own.
	var t interface{ Timeout() bool }
	if errors.As(err, &t) && t.Timeout() {
		return syscall.ETIMEDOUT
	}
	for _, e := range passed {
		if errors.Is(err, e) {
			return e
		}
	}
	return syscall.EIO
}

// gone reports whether an error means that a file that was there is there no more,
// or holds another version.
func gone(err error) bool {
	return errors.Is(err, replica.ErrReplaced) || errors.Is(err, os.ErrNotExist)
}
