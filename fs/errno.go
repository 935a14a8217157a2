package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/verify"
)

// errTaken means that a name is taken and must not be replaced.
var errTaken = errors.New("the name is taken")

// errUnlinked means that a staged file has lost its name.
var errUnlinked = fmt.Errorf("the staged file was removed: %w", os.ErrNotExist)

// errPublished means that a published file can't be changed in place.
var errPublished = errors.New("a published file can't be changed in place")

// errAgain tells the kernel that the name means another inode by now. For an
// open, it looks the name up anew and tries once more.
const errAgain = syscall.ESTALE

// errno is the one place where errors become what a caller sees. The log says
// the rest.
func errno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, replica.ErrReplaced):
		return syscall.ESTALE
	case errors.Is(err, verify.ErrName):
		return syscall.EINVAL
	case errors.Is(err, verify.ErrInvalid):
		return syscall.EBADMSG
	case errors.Is(err, errTaken), errors.Is(err, os.ErrExist):
		return syscall.EEXIST
	case errors.Is(err, errPublished):
		return syscall.EPERM
	case errors.Is(err, context.DeadlineExceeded):
		return syscall.ETIMEDOUT
	case errors.Is(err, os.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return syscall.ENOSPC
	case errors.Is(err, syscall.EROFS):
		return syscall.EROFS
	case errors.Is(err, os.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, os.ErrClosed):
		return syscall.ESTALE
	case timedOut(err):
		return syscall.ETIMEDOUT
	}
	return syscall.EIO
}

// timedOut tells of the deadlines that networks and disks have of their own.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// readErrno is errno for a file that was there when it was opened.
func readErrno(err error) syscall.Errno {
	if errors.Is(err, os.ErrNotExist) {
		return syscall.ESTALE
	}
	return errno(err)
}

// stageErrno is errno for the staging directory, whose refusals are none of
// the store's.
func stageErrno(err error) syscall.Errno {
	var e syscall.Errno
	switch got := errno(err); {
	case got != syscall.EIO:
		return got
	case errors.As(err, &e) && (e == syscall.EINVAL || e == syscall.EFBIG || e == syscall.EOPNOTSUPP || e == syscall.ENAMETOOLONG):
		return e // of a length, an offset or a mode that the caller chose
	}
	return syscall.EIO
}
