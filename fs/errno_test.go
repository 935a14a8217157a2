package fs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// TestErrno is the table of errors that users rely on, with the errors as the
// layers below wrap them.
func TestErrno(t *testing.T) {
	wrap := func(err error) error {
		return replica.NewFileError("write", replica.Name{Level: 3, MinTXID: 1, MaxTXID: 2}, fmt.Errorf("deep: %w", err))
	}
	for _, tt := range []struct {
		name string
		err  error
		want syscall.Errno
	}{
		{"nil", nil, 0},
		{"no such file", wrap(os.ErrNotExist), syscall.ENOENT},
		{"credentials refused", wrap(os.ErrPermission), syscall.EACCES},
		{"permission on disk", wrap(&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), syscall.EACCES},
		{"replaced", wrap(replica.ErrReplaced), syscall.ESTALE},
		{"not valid LTX", wrap(ltxfile.ErrInvalid), syscall.EBADMSG},
		{"changed since it was verified", wrap(replica.ErrChanged), syscall.EBADMSG},
		{"header contradicts name", wrap(ltxfile.ErrName), syscall.EINVAL},
		{"name taken", wrap(staging.ErrTaken), syscall.EEXIST},
		{"in place", wrap(staging.ErrPublished), syscall.EPERM},
		{"deadline", wrap(context.DeadlineExceeded), syscall.ETIMEDOUT},
		{"deadline of a connection", wrap(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}), syscall.ETIMEDOUT},
		{"deadline of the system", wrap(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}), syscall.ETIMEDOUT},
		{"connection refused", wrap(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), syscall.EIO},
		{"store gone", wrap(replica.ErrUnavailable), syscall.EIO},
		{"two layouts", wrap(replica.ErrMixedLayouts), syscall.EIO},
		{"no such bucket", wrap(fmt.Errorf("%w: no such bucket", replica.ErrUnavailable)), syscall.EIO},
		{"no room", wrap(syscall.ENOSPC), syscall.ENOSPC},
		{"quota", wrap(syscall.EDQUOT), syscall.ENOSPC},
		{"read-only store", wrap(syscall.EROFS), syscall.EROFS},
		{"anything else", wrap(errors.New("the store is on fire")), syscall.EIO},
		{"disk error", wrap(syscall.EIO), syscall.EIO},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, errno(tt.err)) })
	}
}

// TestGone: a file that is gone was there when it was opened.
func TestGone(t *testing.T) {
	assert.True(t, gone(os.ErrNotExist))
	assert.True(t, gone(replica.ErrReplaced))
	assert.False(t, gone(errors.New("broken")))
}

// TestStageErrno: what the caller chose wrongly keeps its errno.
func TestStageErrno(t *testing.T) {
	assert.Equal(t, syscall.EFBIG, errno(&os.PathError{Op: "write", Err: syscall.EFBIG}, chosen...))
	assert.Equal(t, syscall.ENOSPC, errno(&os.PathError{Op: "write", Err: syscall.ENOSPC}, chosen...))
	assert.Equal(t, syscall.EIO, errno(errors.New("broken"), chosen...))
	assert.Equal(t, syscall.EIO, errno(&os.PathError{Op: "write", Err: syscall.EFBIG}), "the store's refusals aren't the caller's")
}

// The manual has each errno that an error becomes.
func TestManualHasErrnos(t *testing.T) {
	manual, err := os.ReadFile("../docs/manual.md")
	assert.NoError(t, err)
	known := []syscall.Errno{errno(errors.New("anything else"))}
	for _, row := range errnos {
		known = append(known, row.is)
	}
	for _, e := range known {
		assert.True(t, strings.Contains(string(manual), "\n| "+unix.ErrnoName(e)+" |"), unix.ErrnoName(e))
	}
}
