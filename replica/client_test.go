package replica_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

var errBroken = errors.New("broken")

// A listing asks the store when its first file is asked for.
func TestClientLists(t *testing.T) {
	m := mock.New()
	m.Put(0, 1, 1, nil)
	c := replica.ClientOf(m)
	it, err := c.LTXFiles(t.Context(), 0, 0, false)
	require.NoError(t, err)
	require.NoError(t, it.Close())
	assert.Zero(t, m.Calls(mock.OpList))

	m.Fail(mock.OpList, errBroken)
	it, err = c.LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	require.False(t, it.Next())
	require.ErrorIs(t, it.Err(), errBroken)
	require.False(t, it.Next())
	require.ErrorIs(t, it.Close(), errBroken)
}

// batches is a store that notes how many files each call deletes.
type batches struct {
	replica.Wrapper
	sizes []int
}

func (b *batches) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	b.sizes = append(b.sizes, len(names))
	return b.Wrapper.DeleteLTXFiles(ctx, names...)
}

// DeleteAll deletes a level in requests of a thousand files.
func TestClientDeleteAllBatches(t *testing.T) {
	m := mock.New()
	for i := range ltx.TXID(2500) {
		m.Put(3, i, i, nil)
	}
	m.Put(9, 1, 1, nil)
	b := &batches{Wrapper: replica.Wrapper{Store: m}}
	require.NoError(t, replica.ClientOf(b).DeleteAll(t.Context()))
	assert.Equal(t, []int{1000, 1000, 500, 1}, b.sizes)
	assert.Zero(t, m.Len())
}

// It goes on after a file and after a level that can't be deleted, and names them.
func TestClientDeleteAllGoesOn(t *testing.T) {
	m := mock.New()
	for level := range 3 {
		m.Put(level, 1, 1, nil)
		m.Put(level, 2, 2, nil)
	}
	m.FailFile(mock.OpDelete, name(0, 1, 1), errBroken)
	m.FailFile(mock.OpNext, name(1, 2, 2), os.ErrPermission)
	err := replica.ClientOf(m).DeleteAll(t.Context())
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, name(0, 1, 1).String())
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "list level 1")
	assert.Len(t, storetest.List(t, m, 0), 1)
	m.ClearFaults()
	assert.Len(t, storetest.List(t, m, 1), 2, "some were deleted of a level that wasn't listed whole")
	assert.Empty(t, storetest.List(t, m, 2))

	// A store that is gone is asked once.
	m.ResetCalls()
	m.Fail(mock.OpList, fmt.Errorf("unmounted: %w", replica.ErrUnavailable))
	require.ErrorIs(t, replica.ClientOf(m).DeleteAll(t.Context()), replica.ErrUnavailable)
	assert.Equal(t, 1, m.Calls(mock.OpList))
}
