package fs

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// A read that has failed late fails at once when it is repeated, and only then.
func TestLateFailures(t *testing.T) {
	f := replica.File{Level: 1, MinTXID: 2, MaxTXID: 3, Size: 1 << 20, Version: "v"}
	later, other, newer := f, f, f
	later.ModTime = time.Now() // which may be known better by now
	other.MaxTXID, newer.Version = 4, "w"
	long := time.Now().Add(-30 * time.Second)

	var l lateFailures
	require.Zero(t, l.of(f, 100))
	l.add(f, 100, 200, time.Now(), syscall.EIO)
	require.Zero(t, l.of(f, 100), "one that failed quickly is tried again")
	l.add(f, 100, 200, long, syscall.ESTALE)
	require.Zero(t, l.of(f, 100), "another version is looked for at once")

	l.add(f, 100, 200, long, syscall.ETIMEDOUT)
	require.Equal(t, syscall.ETIMEDOUT, l.of(f, 100))
	require.Equal(t, syscall.ETIMEDOUT, l.of(later, 199))
	for _, off := range []int64{0, 99, 200} {
		require.Zero(t, l.of(f, off), off)
	}
	require.Zero(t, l.of(other, 100))
	require.Zero(t, l.of(newer, 100))

	l.recent[0].at = time.Now().Add(-2 * repeatWithin)
	require.Zero(t, l.of(f, 100), "a moment later the store is asked again")
	require.Empty(t, l.recent)
	require.Zero(t, l.count.Load())
	for range maxLateFailures + 1 {
		l.add(f, 0, 1, long, syscall.EIO)
	}
	require.Len(t, l.recent, maxLateFailures)
}
