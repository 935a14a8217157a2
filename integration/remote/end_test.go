package remote

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// A mount ends while its store hangs, and who reads isn't told that the file was replaced.
func TestTerminateDuringARead(t *testing.T) {
	t.Parallel()
	r := newCounted(t, s3test.MinIO, replica.LitestreamS3)
	r.server.Put(t, r.bucket, r.key(9, 1, 1), make([]byte, 4<<20))
	m := ltxfstest.MountWith(t, r.proxy.URL(r.bucket, countedPath), ltxfstest.MountOptions{Flags: []string{"--grace=300ms"}, Env: r.server.Env()})
	p := m.Process(t)
	defer p.Close()
	f, err := p.Open(ltxfstest.LevelPath(9, "0000000000000001-0000000000000001.ltx"), unix.O_RDONLY, 0)
	require.NoError(t, err)
	asked := make(chan struct{})
	tell, hang := sync.OnceFunc(func() { close(asked) }), r.proxy.Hang()
	r.proxy.Intercept(s3test.On(s3test.GetObject, func(w http.ResponseWriter, req *http.Request) bool {
		tell()
		return hang(w, req)
	}))
	read := make(chan error, 1)
	go func() {
		_, err := f.ReadAt(4096, 0)
		read <- err
	}()
	<-asked
	begin := time.Now()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Less(t, time.Since(begin), 15*time.Second, "the read's own deadline is 30 s")
	// The kernel's errors, where it is faster than ltxfs's answer.
	require.Contains(t, []error{syscall.EIO, syscall.ENOTCONN, syscall.ECONNABORTED}, <-read)
}
