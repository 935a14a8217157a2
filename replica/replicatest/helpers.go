package replicatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
)

// Bytes makes n bytes that are no LTX file. The same seed gives the same ones.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = NewReader(seed, int64(n)).Read(b)
	return b
}

// NewReader returns a reader of what Bytes makes, for more than should be in
// memory at once.
func NewReader(seed uint64, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// List returns all files of a level that are listed.
func List(tb testing.TB, c replica.Client, level int) []*ltx.FileInfo {
	tb.Helper()
	return list(tb, c, level, 0, false)
}

func list(tb testing.TB, c replica.Client, level int, seek ltx.TXID, useMetadata bool) []*ltx.FileInfo {
	tb.Helper()
	it, err := c.LTXFiles(context.Background(), level, seek, useMetadata)
	require.NoError(tb, err)
	files, err := ltx.SliceFileIterator(it)
	require.NoError(tb, err)
	require.NoError(tb, it.Err())
	return files
}

func names(files []*ltx.FileInfo) []string {
	names := []string{}
	for _, f := range files {
		names = append(names, ltx.FormatFilename(f.MinTXID, f.MaxTXID))
	}
	return names
}

func (s *suite) write(t *testing.T, id id, data []byte) replica.File {
	t.Helper()
	f, err := replica.Write(t.Context(), s.client, id.level, id.minTXID, id.maxTXID, bytes.NewReader(data))
	require.NoError(t, err)
	return f
}

// read returns a range of a file.
func (s *suite) read(t *testing.T, id id, offset, size int64) []byte {
	t.Helper()
	r, err := s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, offset, size)
	require.NoError(t, err)
	return readAll(t, r)
}

// readAll reads to the end and closes.
func readAll(t *testing.T, r io.ReadCloser) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return data
}

// requireMissing fails the test unless there is no such file.
func (s *suite) requireMissing(t *testing.T, id id) {
	t.Helper()
	_, err := s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotContains(t, names(list(t, s.client, id.level, 0, false)), ltx.FormatFilename(id.minTXID, id.maxTXID))
}

// requireFileError fails the test unless err names the operation and the file.
func requireFileError(t *testing.T, err error, op string, id id) {
	t.Helper()
	require.Error(t, err)
	var fe *replica.FileError
	require.True(t, errors.As(err, &fe), "%v is no FileError", err)
	assert.Equal(t, op, fe.Op)
	assert.Equal(t, id.level, fe.Level)
	assert.Equal(t, id.minTXID, fe.MinTXID)
	assert.Equal(t, id.maxTXID, fe.MaxTXID)
	assert.ErrorContains(t, err, ltx.FormatFilename(id.minTXID, id.maxTXID))
}

// idleTime is how long a client may keep what it doesn't use any more, such as a
// connection.
const idleTime = 10 * time.Second

// watchLeaks returns a function that fails the test if the process has gained
// descriptors or goroutines since, and keeps them.
func watchLeaks(t *testing.T) (check func()) {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	before := descriptors(t)
	return func() {
		t.Helper()
		leak := func() error {
			// A client with connections may keep one, but not one a file.
			if n := descriptors(t); n >= before+8 {
				return fmt.Errorf("descriptors leak: %d, of %d before", n, before)
			}
			return goleak.Find(goroutines)
		}
		err := leak()
		for deadline := time.Now().Add(idleTime); err != nil && time.Now().Before(deadline); err = leak() {
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, err)
	}
}

// descriptors is how many descriptors the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// doneContext returns a context that is done already.
func doneContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// failingReader gives some bytes, then calls then, then fails.
type failingReader struct {
	r    io.Reader
	then func()
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != io.EOF {
		return n, err
	}
	if r.then != nil {
		r.then()
		r.then = nil
	}
	return n, r.err
}

// endless gives bytes for as long as it is asked, up to a limit that a test
// never reaches if its client looks at its context.
type endless struct {
	given int64
}

const endlessLimit = 16 << 30

func (r *endless) Read(p []byte) (int, error) {
	if r.given += int64(len(p)); r.given > endlessLimit {
		return 0, fmt.Errorf("the client read %d bytes after its context was done", r.given)
	}
	return len(p), nil
}

// within fails the test if f takes longer than the test's timeout.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatal("it hangs")
	}
}
