package retry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
	"github.com/ltxfs/ltxfs/replica/retry"
)

// writes are the three ways to write.
var writes = map[string]func(ctx context.Context, c replica.Client, r io.Reader) error{
	"plain": func(ctx context.Context, c replica.Client, r io.Reader) error {
		_, err := c.WriteLTXFile(ctx, 1, 5, 9, r)
		return err
	},
	"version": func(ctx context.Context, c replica.Client, r io.Reader) error {
		_, err := replica.Write(ctx, c, 1, 5, 9, r)
		return err
	},
	"exclusive": func(ctx context.Context, c replica.Client, r io.Reader) error {
		_, err := replica.WriteExclusive(ctx, c, 1, 5, 9, r)
		return err
	},
}

// A write begins again where its source began, and only if that can be.
func TestWriteAgain(t *testing.T) {
	content := replicatest.Bytes(1, 10_000)
	pipe := func(t *testing.T) io.Reader {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		_, err = w.WriteString("short")
		require.NoError(t, err)
		require.NoError(t, w.Close())
		t.Cleanup(func() { r.Close() })
		return r
	}
	for name, write := range writes {
		for _, op := range []mock.Op{mock.OpWrite, mock.OpPublish} {
			for _, tt := range []struct {
				name   string
				source func(t *testing.T) io.Reader
				again  bool
			}{
				{"seeker", func(*testing.T) io.Reader { return bytes.NewReader(content) }, true},
				{"not from its beginning", func(t *testing.T) io.Reader {
					r := bytes.NewReader(append([]byte("before"), content...))
					_, err := r.Seek(6, io.SeekStart)
					require.NoError(t, err)
					return r
				}, true},
				{"section", func(*testing.T) io.Reader { return io.NewSectionReader(bytes.NewReader(content), 0, 10_000) }, true},
				{"stream", func(*testing.T) io.Reader { return bytes.NewBuffer(content) }, false},
				{"pipe", pipe, false},
			} {
				t.Run(name+"/"+string(op)+"/"+tt.name, func(t *testing.T) {
					m := mock.New()
					m.Inject(mock.Fault{Op: op, Err: errFlaky, Times: 2})
					err := write(t.Context(), retry.New(m, fast), tt.source(t))
					if !tt.again {
						require.ErrorIs(t, err, errFlaky)
						assert.Equal(t, 1, m.Calls(op))
						assert.Zero(t, m.Len())
						return
					}
					require.NoError(t, err)
					assert.Equal(t, 3, m.Calls(op))
					got, ok := m.Bytes(1, 5, 9)
					require.True(t, ok)
					assert.True(t, bytes.Equal(content, got))
				})
			}
		}
	}
}

// A source that fails would fail again, and is no fault of the store.
func TestWriteFailingSource(t *testing.T) {
	broken := errors.New("the source broke")
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			m := mock.New()
			r := struct {
				io.Reader
				io.Seeker
			}{io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)), strings.NewReader("")}
			require.ErrorIs(t, write(t.Context(), retry.New(m, fast), r), broken)
			assert.Equal(t, 1, m.Calls(mock.OpWrite))
			assert.Zero(t, m.Len())
		})
	}
	m := mock.New()
	m.Fail(mock.OpPublish, errFlaky)
	err := writes["plain"](t.Context(), retry.New(m, fast), &seekOnce{Reader: strings.NewReader("x")})
	require.ErrorIs(t, err, errFlaky)
	require.ErrorContains(t, err, "can't be read again: a worn-out tape")
	assert.Equal(t, 1, m.Calls(mock.OpWrite))
}

// seekOnce tells where it is, and goes nowhere else.
type seekOnce struct{ io.Reader }

func (*seekOnce) Seek(_ int64, whence int) (int64, error) {
	if whence == io.SeekCurrent {
		return 0, nil
	}
	return 0, errors.New("a worn-out tape")
}

// lostAnswer stores a file, and then its answer is lost on the way. then happens in
// between.
type lostAnswer struct {
	replica.Client
	lost int
	then func()
}

func (c *lostAnswer) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	f, err := replica.WriteExclusive(ctx, c.Client, level, minTXID, maxTXID, r)
	if c.lost--; c.lost >= 0 && err == nil {
		c.then()
		return replica.File{}, replica.NewFileError("write", level, minTXID, maxTXID, errFlaky)
	}
	return f, err
}

// An exclusive write whose answer was lost isn't told that the name is taken by
// itself, and is told if it is taken by another.
func TestExclusiveWhoseAnswerIsLost(t *testing.T) {
	mine := replicatest.LTX(t, 5, 9, replicatest.Seed(1))
	theirs := replicatest.LTX(t, 5, 9, replicatest.Seed(2))
	for _, tt := range []struct {
		name string
		then func(m *mock.ReplicaClient)
		want error
	}{
		{"own", func(*mock.ReplicaClient) {}, nil},
		{"another's", func(m *mock.ReplicaClient) { m.Put(1, 5, 9, theirs) }, os.ErrExist},
		{"another's, longer", func(m *mock.ReplicaClient) { m.Put(1, 5, 9, append(bytes.Clone(mine), 0)) }, os.ErrExist},
		{"another's, empty", func(m *mock.ReplicaClient) { m.Put(1, 5, 9, nil) }, os.ErrExist},
		{"deleted", func(m *mock.ReplicaClient) { m.Remove(1, 5, 9) }, nil},
		{"can't be compared", func(m *mock.ReplicaClient) { m.Fail(mock.OpStat, errFlaky) }, errFlaky},
		{"can't be read", func(m *mock.ReplicaClient) { m.Fail(mock.OpRead, os.ErrPermission) }, errFlaky},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mock.New()
			m.ListUploadTimes(true)
			c := &lostAnswer{Client: m, lost: 1, then: func() { tt.then(m) }}
			client := retry.New(exclusive{c, m, m, m}, fast)
			f, err := replica.WriteExclusive(t.Context(), client, 1, 5, 9, bytes.NewReader(mine))
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				assert.Equal(t, tt.want == os.ErrExist, errors.Is(err, os.ErrExist))
				assert.Equal(t, replica.File{}, f)
				assert.Zero(t, m.OpenReaders())
				return
			}
			require.NoError(t, err)
			got, ok := m.Bytes(1, 5, 9)
			require.True(t, ok)
			assert.True(t, bytes.Equal(mine, got))
			stat, err := m.StatLTXFile(t.Context(), 1, 5, 9)
			require.NoError(t, err)
			assert.Equal(t, stat.Version, f.Version)
			assert.Equal(t, int64(len(mine)), f.Size)
			assert.True(t, f.ModTime.Equal(replicatest.DefaultTime), "the time is the header's: %v", f.ModTime)
			assert.Zero(t, m.OpenReaders())
		})
	}
}

// exclusive is a client whose exclusive writes lose answers.
type exclusive struct {
	*lostAnswer
	replica.Stater
	replica.VersionOpener
	replica.VersionWriter
}

// An exclusive write that finds the name taken at once is told so at once.
func TestExclusiveTaken(t *testing.T) {
	m := mock.New()
	content := replicatest.LTX(t, 5, 9)
	m.Put(1, 5, 9, content)
	_, err := replica.WriteExclusive(t.Context(), retry.New(m, fast), 1, 5, 9, bytes.NewReader(content))
	require.ErrorIs(t, err, os.ErrExist)
	assert.Zero(t, m.Calls(mock.OpOpen))
	assert.Equal(t, 1, m.Calls(mock.OpWrite))
}

// A write ends with its context.
func TestWriteEndsWithContext(t *testing.T) {
	m := mock.New()
	m.Fail(mock.OpPublish, errFlaky)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	opts := retry.Options{Attempts: 1 << 30, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}
	require.Error(t, writes["version"](ctx, retry.New(m, opts), strings.NewReader("x")))
	assert.Zero(t, m.Len())
}
