package s3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Stores of a pool share connections where these are made in the same way. One store's end
// leaves them to the others, and the pool's ends all.
func TestPool(t *testing.T) {
	s := serve(t, answers{"GET": object([]byte("x"), "v1")})
	p := NewPool()
	open := func() *Store {
		private, _ := s.unready(t)
		store, err := p.New(private.cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	}
	read := func(s *Store) error {
		if s.ready.Load() == nil {
			ready(t, s, config.DefaultRegion)
		}
		_, err := readRange(t, s, "", 0, 0)
		return err
	}
	a, b := open(), open()
	require.NoError(t, read(a))
	require.NoError(t, read(b))
	require.Equal(t, 1, a.Connections())
	require.Same(t, a.conns, b.conns)
	require.NoError(t, a.Close())
	require.NoError(t, read(b))
	require.Equal(t, 1, b.Connections())

	p.Close()
	require.Zero(t, b.Connections())
	require.Error(t, read(b))
	require.Error(t, read(open()))
}
