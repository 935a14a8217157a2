package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// stream hides that a reader can seek.
func stream(data []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(data)} }

func stagedFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staged")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// What can be read at any offset is not held in memory; of a stream, a part is.
func TestSourceKinds(t *testing.T) {
	data := bytesOf(1000)
	moved := bytes.NewReader(data)
	_, err := moved.Seek(100, io.SeekStart)
	require.NoError(t, err)
	pipe, w, err := os.Pipe()
	require.NoError(t, err)
	defer pipe.Close()
	go func() {
		_, _ = w.Write(data)
		_ = w.Close()
	}()
	for _, tt := range []struct {
		name     string
		r        io.Reader
		partSize int64
		section  []byte
		first    []byte
		whole    bool
	}{
		{"a file", stagedFile(t, data), 100, data, nil, false},
		{"from where it stands", moved, 100, data[100:], nil, false},
		{"a section", io.NewSectionReader(bytes.NewReader(data), 5, 10), 100, data[5:15], nil, false},
		{"nothing", bytes.NewReader(nil), 100, []byte{}, nil, false},
		{"a stream", stream(data), 100, nil, data[:100], false},
		{"a stream of one part", stream(data), 1000, nil, data, false},
		{"a short stream", stream(data), 1001, nil, data, true},
		{"an empty stream", stream(nil), 100, nil, nil, true},
		{"a pipe, which can't seek", pipe, 2000, nil, data, true},
		{"a stream in halves", iotest.HalfReader(stream(data)), 1001, nil, data, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, err := newSource(t.Context(), tt.r, tt.partSize)
			require.NoError(t, err)
			require.Equal(t, tt.section != nil, src.section != nil)
			if src.section != nil {
				got, err := io.ReadAll(src.section)
				require.NoError(t, err)
				require.Equal(t, tt.section, got)
				n, err := tt.r.Read(make([]byte, 1))
				require.Zero(t, n, "it stands at its end, as if it had been read")
				require.ErrorIs(t, err, io.EOF)
			}
			require.True(t, bytes.Equal(tt.first, src.first))
			require.Equal(t, tt.whole, src.whole)
			require.WithinDuration(t, time.Now(), src.time, time.Minute)
		})
	}
}

// The timestamp is that of the LTX header, if there is one.
func TestSourceTime(t *testing.T) {
	file := replicatest.LTX(t, 1, 1)
	for _, r := range []io.Reader{bytes.NewReader(file), stream(file), stream(append(file, bytesOf(1<<20)...))} {
		src, err := newSource(t.Context(), r, 1<<20)
		require.NoError(t, err)
		require.Equal(t, replicatest.DefaultTime, src.time)
	}
	// A broken header is none.
	for _, data := range [][]byte{file[:99], append([]byte("X"), file[1:]...), make([]byte, 200), nil} {
		src, err := newSource(t.Context(), bytes.NewReader(data), 1<<20)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), src.time, time.Minute)
		require.Equal(t, time.UTC, src.time.Location())
	}
}

// An error of the reader is what the caller gets, whatever it is.
func TestSourceErrors(t *testing.T) {
	odd := errors.New("the disk is gone")
	for _, want := range []error{odd, io.ErrUnexpectedEOF} {
		failing := io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(want))
		_, err := newSource(t.Context(), failing, 100)
		require.ErrorIs(t, err, want)
		_, err = newSource(t.Context(), failingAt{bytes.NewReader(bytesOf(10)), want}, 100)
		require.ErrorIs(t, err, want)
		_, _, err = readPart(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(want)), make([]byte, 10), 10)
		require.ErrorIs(t, err, want)
	}
	_, err := newSource(t.Context(), failingEnd{bytes.NewReader(nil)}, 100)
	require.ErrorContains(t, err, "find the size of what is to be written")

	ctx, cancel := context.WithCancel(t.Context())
	src, err := newSource(ctx, stream(bytesOf(1000)), 100)
	require.NoError(t, err)
	cancel()
	_, _, err = readPart(src.stream, make([]byte, 100), 100)
	require.ErrorIs(t, err, context.Canceled)
	_, err = newSource(ctx, stream(nil), 100)
	require.ErrorIs(t, err, context.Canceled)
}

// failingAt fails to read at an offset, and failingEnd to find its end.
type failingAt struct {
	*bytes.Reader
	err error
}

func (r failingAt) ReadAt([]byte, int64) (int, error) { return 0, r.err }

type failingEnd struct{ *bytes.Reader }

func (r failingEnd) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return 0, errors.New("no end")
	}
	return r.Reader.Seek(offset, whence)
}

func TestReadPart(t *testing.T) {
	data := bytesOf(10)
	for _, buf := range [][]byte{nil, make([]byte, 11)} {
		r := iotest.OneByteReader(bytes.NewReader(data))
		part, end, err := readPart(r, buf, 6)
		require.NoError(t, err)
		require.Equal(t, data[:6], part)
		require.False(t, end)
		part, end, err = readPart(r, buf, 6)
		require.NoError(t, err)
		require.Equal(t, data[6:], part)
		require.True(t, end)
		part, end, err = readPart(r, buf, 6)
		require.NoError(t, err)
		require.Empty(t, part)
		require.True(t, end)
		// Data and the end at once.
		part, end, err = readPart(iotest.DataErrReader(bytes.NewReader(data)), buf, 11)
		require.NoError(t, err)
		require.Equal(t, data, part)
		require.True(t, end)
	}
}
