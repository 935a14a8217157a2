package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/retry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errFlaky = errors.New("the network disk hiccups")

// fast are options that don't slow tests down.
var fast = retry.Options{MinBackoff: time.Nanosecond}

func TestRetryable(t *testing.T) {
	wrap := func(err error) error { return replica.NewFileError("read", 1, 2, 3, fmt.Errorf("deep: %w", err)) }
	for _, err := range []error{
		os.ErrNotExist, os.ErrPermission, os.ErrExist, os.ErrInvalid, os.ErrClosed, errors.ErrUnsupported,
		replica.ErrReplaced, replica.ErrMixedLayouts, replica.ErrUnavailable,
		context.Canceled, context.DeadlineExceeded,
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.ENOENT,
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EPERM},
	} {
		assert.False(t, retry.Retryable(wrap(err)), "%v", err)
	}
	assert.False(t, retry.Retryable(nil))
	for _, err := range []error{errFlaky, io.ErrUnexpectedEOF, syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.ECONNRESET} {
		assert.True(t, retry.Retryable(wrap(err)), "%v", err)
	}
}

// ops are the operations that are tried again as a whole, with the fault that each
// meets.
func ops(c replica.Client, f replica.File) map[mock.Op]func(ctx context.Context) error {
	drop := func(_ any, err error) error { return err }
	return map[mock.Op]func(ctx context.Context) error{
		mock.OpInit: func(ctx context.Context) error { return c.(interface{ Init(context.Context) error }).Init(ctx) },
		mock.OpStat: func(ctx context.Context) error { return drop(c.(replica.Stater).StatLTXFile(ctx, 0, 1, 1)) },
		mock.OpList: func(ctx context.Context) error {
			return drop(ltx.SliceFileIterator(must(c.LTXFiles(ctx, 0, 0, false))))
		},
		mock.OpNext: func(ctx context.Context) error {
			it, err := c.LTXFiles(ctx, 0, 0, false)
			if err == nil {
				_, err = ltx.SliceFileIterator(it)
			}
			return err
		},
		mock.OpOpen: func(ctx context.Context) error { return read(c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)) },
		mock.OpRead: func(ctx context.Context) error { return read(replica.Open(ctx, c, f, 0, 0)) },
		mock.OpWrite: func(ctx context.Context) error {
			return drop(c.WriteLTXFile(ctx, 1, 1, 1, strings.NewReader("x")))
		},
		mock.OpPublish: func(ctx context.Context) error {
			return drop(replica.Write(ctx, c, 1, 2, 2, strings.NewReader("x")))
		},
		mock.OpDelete:    func(ctx context.Context) error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{f.Info()}) },
		mock.OpDeleteAll: func(ctx context.Context) error { return c.DeleteAll(ctx) },
	}
}

// must is an iterator that fails with err if there is none.
func must(it ltx.FileIterator, err error) ltx.FileIterator {
	if err != nil {
		return failed{ltx.NewFileInfoSliceIterator(nil), err}
	}
	return it
}

type failed struct {
	ltx.FileIterator
	err error
}

func (f failed) Close() error { return f.err }

func read(r io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	_, err = io.ReadAll(r)
	return errors.Join(err, r.Close())
}

// Every operation is tried again, up to so many times, and not at all if that is
// of no use.
func TestAttempts(t *testing.T) {
	for op := range ops(nil, replica.File{}) {
		for _, tt := range []struct {
			name  string
			fault mock.Fault
			opts  retry.Options
			want  error
			calls int
		}{
			{"passes", mock.Fault{Err: errFlaky, Times: 4}, fast, nil, 5},
			{"stays", mock.Fault{Err: errFlaky}, fast, errFlaky, 5},
			{"fewer attempts", mock.Fault{Err: errFlaky}, retry.Options{Attempts: 2, MinBackoff: 1}, errFlaky, 2},
			{"permanent", mock.Fault{Err: os.ErrPermission}, fast, os.ErrPermission, 1},
			{"as the caller says", mock.Fault{Err: errFlaky}, retry.Options{
				MinBackoff: 1, Retryable: func(err error) bool { return !errors.Is(err, errFlaky) },
			}, errFlaky, 1},
			{"whatever the caller says", mock.Fault{Err: os.ErrExist}, retry.Options{
				MinBackoff: 1, Retryable: func(error) bool { return true },
			}, os.ErrExist, 1},
		} {
			t.Run(string(op)+"/"+tt.name, func(t *testing.T) {
				m := mock.New()
				f := m.Put(0, 1, 1, []byte("content"))
				tt.fault.Op = op
				m.Inject(tt.fault)
				err := ops(retry.New(m, tt.opts), f)[op](t.Context())
				if tt.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tt.want)
				}
				if op == mock.OpRead && tt.want == nil {
					tt.calls++ // for its end
				}
				assert.Equal(t, tt.calls, m.Calls(op))
				if tt.calls > 1 && tt.want != nil {
					assert.ErrorContains(t, err, fmt.Sprintf("given up after %d attempts", tt.calls))
				}
				assert.Zero(t, m.OpenReaders()+m.OpenIterators())
			})
		}
	}
}

// The waits grow, are random, and end with the context.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		m.Fail(mock.OpStat, errFlaky)
		opts := retry.Options{Attempts: 8, MinBackoff: time.Second, MaxBackoff: 16 * time.Second}
		stat := func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			_, err := retry.New(m, opts).(replica.Stater).StatLTXFile(ctx, 0, 1, 1)
			return time.Since(begin), err
		}
		var sum time.Duration
		seen := map[time.Duration]bool{}
		const rounds = 200
		for range rounds {
			took, err := stat(t.Context())
			require.ErrorIs(t, err, errFlaky)
			sum += took
			seen[took] = true
		}
		// Bounds of 1, 2, 4, 8, 16, 16, 16 s, of which half is waited for on average.
		assert.InDelta(t, 63.0/2, (sum / rounds).Seconds(), 4)
		assert.Greater(t, len(seen), rounds/2, "the waits aren't random")

		m.ResetCalls()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		took, err := stat(ctx)
		require.ErrorIs(t, err, errFlaky)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "it waited for an attempt that would be too late")
		assert.LessOrEqual(t, took, 3*time.Second)
		assert.Less(t, m.Calls(mock.OpStat), 8)

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		opts.MinBackoff = 1000 * time.Hour
		took, err = stat(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errFlaky)
		assert.Equal(t, 100*time.Millisecond, took)
	})
}

// The log tells of what is tried again.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	opts := fast
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	m := mock.New()
	m.Put(0, 1, 1, nil)
	m.FailOnce(mock.OpStat, errFlaky)
	_, err := retry.New(m, opts).(replica.Stater).StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(log.String(), "\n"))
	assert.Contains(t, log.String(), `op=stat attempt=1`)
	assert.Contains(t, log.String(), errFlaky.Error())
}

// A local file is opened again as well.
func TestOpenLocal(t *testing.T) {
	disk := file.New(t.TempDir(), replica.LitestreamFile)
	f, err := replica.Write(t.Context(), disk, 0, 1, 1, strings.NewReader("content"))
	require.NoError(t, err)
	flaky := &flakyLocal{ReplicaClient: disk, left: 3}
	local, ok := replica.As[replica.LocalOpener](retry.New(flaky, fast))
	require.True(t, ok)
	opened, err := local.OpenLocal(t.Context(), f)
	require.NoError(t, err)
	require.NoError(t, opened.Close())
	assert.Zero(t, flaky.left)
}

type flakyLocal struct {
	*file.ReplicaClient
	left int
}

func (c *flakyLocal) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if c.left > 0 {
		c.left--
		return nil, errFlaky
	}
	return c.ReplicaClient.OpenLocal(ctx, f)
}

// Only what is left is deleted again: what was deleted may have been written anew.
func TestDelete(t *testing.T) {
	m := mock.New()
	var files []*ltx.FileInfo
	for i := range ltx.TXID(5) {
		files = append(files, m.Put(0, i, i, nil).Info())
	}
	flaky := mock.Key{MinTXID: 2, MaxTXID: 2}
	m.Inject(mock.Fault{Op: mock.OpDelete, File: &flaky, Err: errFlaky, Times: 2})
	refused := mock.Key{MinTXID: 3, MaxTXID: 3}
	m.FailFile(mock.OpDelete, refused, os.ErrPermission)
	err := retry.New(m, fast).DeleteLTXFiles(t.Context(), files)
	require.ErrorIs(t, err, os.ErrPermission)
	require.NotErrorIs(t, err, errFlaky)
	assert.ErrorContains(t, err, ltx.FormatFilename(3, 3))
	assert.Equal(t, 1, m.Len())
	for i := range ltx.TXID(5) {
		want := 1
		if i == flaky.MinTXID {
			want = 3
		}
		assert.Equal(t, want, m.CallsFor(mock.OpDelete, mock.Key{MinTXID: i, MaxTXID: i}), "file %d", i)
	}

	// One that says nothing of single files is of all.
	for _, first := range []error{errFlaky, fmt.Errorf("both: %w, %w", errFlaky, replica.NewFileError("delete", 0, 1, 1, errFlaky))} {
		c := &deleting{ReplicaClient: m, errs: []error{first, nil}}
		require.NoError(t, retry.New(c, fast).DeleteLTXFiles(t.Context(), files))
		assert.Equal(t, []int{5, 5}, c.asked)
	}
	// Nor is one of another file a reason to believe that all is well.
	c := &deleting{ReplicaClient: m, errs: []error{replica.NewFileError("delete", 9, 9, 9, errFlaky), nil}}
	require.NoError(t, retry.New(c, fast).DeleteLTXFiles(t.Context(), files))
	assert.Equal(t, []int{5, 5}, c.asked)
}

// deleting fails with one error after the other.
type deleting struct {
	*mock.ReplicaClient
	errs  []error
	asked []int
}

func (c *deleting) DeleteLTXFiles(_ context.Context, files []*ltx.FileInfo) error {
	err := c.errs[len(c.asked)]
	c.asked = append(c.asked, len(files))
	return err
}
