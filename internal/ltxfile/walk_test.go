package ltxfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// A snapshot that reaches past the lock page has a gigabyte of pages, and what
// matters of them here is their numbers.
func TestSnapshotBeyondLockPage(t *testing.T) {
	for _, pageSize := range []uint32{512, 4096, 65536} {
		lock := ltx.LockPgno(pageSize)
		for name, tt := range map[string]struct {
			commit, last uint32
			valid        bool
		}{
			"before":           {lock - 1, lock - 1, true},
			"before, short":    {lock - 1, lock - 2, false},
			"at":               {lock, lock - 1, true},
			"after":            {lock + 1, lock + 1, true},
			"after, but short": {lock + 1, lock - 1, false},
			"far beyond":       {lock + 1000, lock + 1000, true},
		} {
			o := NewOrder(ltx.Header{PageSize: pageSize, Commit: tt.commit, MinTXID: 1, MaxTXID: 2})
			for pgno := uint32(1); pgno <= tt.last; pgno++ {
				if pgno == lock {
					require.ErrorIs(t, o.Next(pgno), ErrInvalid, "%d: %s", pageSize, name)
					require.ErrorIs(t, o.Next(pgno+2), ErrInvalid, "%d: %s", pageSize, name)
					continue
				}
				if err := o.Next(pgno); err != nil {
					require.NoError(t, err, "%d: %s", pageSize, name)
				}
			}
			err := o.End()
			if tt.valid {
				assert.Equal(t, uint32(1), o.Tail())
			}
			assert.Equal(t, tt.valid, err == nil, "%d: %s: %v", pageSize, name, err)
		}
	}
}
