package main

import (
	"bytes"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/logging"
)

// A store that takes a connection and never answers can be waited for, or not.
func TestInterruptedWaitForStore(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	asked := make(chan struct{})
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1))
		close(asked)
		_, _ = conn.Read(make([]byte, 1<<16)) // until the client gives up
	}()

	cfg, err := parseMountIn(map[string]string{
		"LTXFS_S3_ACCESS_KEY_ID": "key", "LTXFS_S3_SECRET_ACCESS_KEY": "notsosecret",
	}, "s3://bucket/path?endpoint=http://"+l.Addr().String(), "/mnt")
	require.NoError(t, err)
	var out bytes.Buffer
	s := newServer(cfg, &out)
	s.log, err = logging.New(s.sink, "info", "text")
	require.NoError(t, err)
	go func() {
		<-asked
		s.signals <- os.Signal(unix.SIGTERM)
	}()
	begin := time.Now()
	err = s.openReplica()
	require.EqualError(t, err, "open replica s3://bucket/path: interrupted by the signal terminated")
	require.Less(t, time.Since(begin), initTimeout)
	require.Nil(t, s.replica)
	s.flush()
	require.NoError(t, s.abandon(nil))
}
