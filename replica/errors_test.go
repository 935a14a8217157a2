package replica_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

func TestFileError(t *testing.T) {
	require.NoError(t, replica.NewFileError("open", name(0, 1, 2), nil))
	cause := &os.PathError{Op: "open", Path: "/x", Err: syscall.ENOSPC}
	err := fmt.Errorf("outside: %w", replica.NewFileError("write", name(3, 0xa, 0x1f), cause))
	assert.EqualError(t, err, "outside: write level 3 000000000000000a-000000000000001f.ltx: open /x: no space left on device")
	require.ErrorIs(t, err, syscall.ENOSPC)
	var fe *replica.FileError
	require.ErrorAs(t, err, &fe)
	assert.Equal(t, replica.FileError{Op: "write", Name: name(3, 0xa, 0x1f), Err: cause}, *fe)

	for _, want := range []error{os.ErrNotExist, os.ErrPermission, os.ErrInvalid, replica.ErrReplaced} {
		require.ErrorIs(t, replica.NewFileError("open", name(0, 1, 1), want), want)
	}
	joined := errors.Join(replica.NewFileError("delete", name(0, 1, 1), os.ErrPermission), replica.NewFileError("delete", name(0, 2, 2), os.ErrInvalid))
	require.ErrorIs(t, joined, os.ErrPermission)
	require.ErrorIs(t, joined, os.ErrInvalid)
}

func TestCheckRange(t *testing.T) {
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {1, 0}, {math.MaxInt64, math.MaxInt64}} {
		require.NoError(t, replica.CheckRange(r[0], r[1]))
	}
	for _, r := range [][2]int64{{-1, 0}, {0, -1}, {math.MinInt64, math.MinInt64}} {
		require.ErrorIs(t, replica.CheckRange(r[0], r[1]), os.ErrInvalid)
	}
}
