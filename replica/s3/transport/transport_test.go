package transport

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

func TestTLSFiles(t *testing.T) {
	cfg := config.Config{CAFile: filepath.Join(t.TempDir(), "missing")}
	_, err := NewPool().Connections(cfg)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, cfg.CAFile)
	require.NoError(t, os.WriteFile(cfg.CAFile, []byte("no certificate"), 0o600))
	_, err = NewPool().Connections(cfg)
	require.ErrorContains(t, err, cfg.CAFile+" has no certificate in PEM")
}

// The SDK takes no other kind of client when AWS_CA_BUNDLE is set, and what it
// makes of this one keeps its settings.
func TestNewClient(t *testing.T) {
	cfg := config.Config{MaxConnections: 7, Timeouts: config.Timeouts{Connect: 5 * time.Second}}
	c, err := NewPool().Connections(cfg)
	require.NoError(t, err)
	client, err := c.NewClient(cfg)
	require.NoError(t, err)
	tr := client.GetTransport()
	require.Equal(t, []int{7, 7, 7}, []int{tr.MaxConnsPerHost, tr.MaxIdleConns, tr.MaxIdleConnsPerHost})
	require.True(t, tr.DisableCompression)
	require.False(t, tr.DisableKeepAlives)
	require.Equal(t, cfg.Timeouts.Connect, tr.TLSHandshakeTimeout)
	require.Zero(t, client.GetTimeout(), "contexts and connections have deadlines")
}
