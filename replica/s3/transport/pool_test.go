package transport

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Connections are shared where they are made in the same way, and the pace of GETs where they are to
// one endpoint.
func TestPoolShares(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	p := NewPool()
	open := func(change func(*config.Config)) *Connections {
		cfg := config.Config{Endpoint: s.URL, MaxConnections: 64}
		change(&cfg)
		c, err := p.Connections(cfg)
		require.NoError(t, err)
		return c
	}
	same := open(func(*config.Config) {})
	require.Same(t, same, open(func(c *config.Config) { c.Endpoint, c.Path = "http://other", "other" }))
	for _, change := range []func(*config.Config){
		func(c *config.Config) { c.MaxConnections = 7 }, func(c *config.Config) { c.SkipVerify = true },
		func(c *config.Config) { c.CAFile = ca }, func(c *config.Config) { c.Profile = "other" },
		func(c *config.Config) { c.Timeouts.Stall = 1 },
	} {
		require.NotSame(t, same, open(change))
		require.Same(t, open(change), open(change))
	}

	require.True(t, p.Pace(config.Config{Endpoint: s.URL}).MayHedge(), "one of an endpoint's GETs may be made again in advance")
	require.False(t, p.Pace(config.Config{Endpoint: s.URL, MaxConnections: 7}).MayHedge())
	require.True(t, p.Pace(config.Config{Endpoint: "http://other"}).MayHedge())
	require.True(t, p.Pace(config.Config{Region: "eu-central-1"}).MayHedge())
	require.True(t, p.Pace(config.Config{Region: "eu-west-1"}).MayHedge())
	require.False(t, p.Pace(config.Config{Region: "eu-west-1"}).MayHedge())
}
