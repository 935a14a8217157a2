package s3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Stores of a pool share connections where these are made in the same way, one store's end
// leaves them to the others, and the pool's ends all.
func TestPool(t *testing.T) {
	s := serve(t, answers{"GET": object([]byte("x"), "v1")})
	p := NewPool()
	open := func(change func(*config.Config)) *Store {
		private, _ := s.unready(t, change)
		store, err := p.New(private.cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	}
	same := func(*config.Config) {}
	read := func(s *Store) error {
		if s.ready.Load() == nil {
			ready(t, s, config.DefaultRegion)
		}
		_, err := readRange(t, s, "", 0, 0)
		return err
	}
	a, b := open(same), open(same)
	require.NoError(t, read(a))
	require.NoError(t, read(b))
	require.Equal(t, 1, a.Connections())
	require.Same(t, a.connections, b.connections)
	require.NoError(t, a.Close())
	require.NoError(t, read(b))
	require.Equal(t, 1, b.Connections())

	_, ca := secureServer(t)
	for _, change := range []func(*config.Config){
		func(c *config.Config) { c.MaxConnections = 7 }, func(c *config.Config) { c.SkipVerify = true },
		func(c *config.Config) { c.CAFile = ca }, func(c *config.Config) { c.Profile = "other" },
	} {
		require.NotSame(t, b.connections, open(change).connections)
	}
	require.True(t, a.pace.mayHedge(), "one of an endpoint's GETs may be made again in advance")
	for range 1000 {
		require.False(t, open(func(c *config.Config) { c.MaxConnections = 7 }).pace.mayHedge())
	}
	require.True(t, open(func(c *config.Config) { c.Endpoint = "http://other" }).pace.mayHedge())

	p.Close()
	require.Zero(t, b.Connections())
	require.Error(t, read(b))
	require.Error(t, read(open(same)))
}
