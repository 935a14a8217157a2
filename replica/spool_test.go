package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// spooled is more than is held in memory.
const spooled = 1<<20 + 12345

// openFiles are the paths of the process's descriptors below a directory, deleted
// files among them.
func openFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		if path, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(path, dir) {
			paths = append(paths, path)
		}
	}
	return paths
}

// looking is a store that calls a function before each write.
type looking struct {
	replica.Wrapper
	look func(content replica.Content)
}

func (l *looking) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	l.look(content)
	return l.Store.WriteLTXFile(ctx, name, content, opts)
}

// Whatever a stream is, what is left of it is stored, and the temporary directory
// is as it was before.
func TestSpool(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	data := storetest.Bytes(1, spooled)
	path := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	open := func(t *testing.T) *os.File {
		f, err := os.Open(path)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	type stream struct{ io.Reader } // and nothing else
	changed := bytes.Repeat([]byte{'x'}, len(data))
	for title, tt := range map[string]struct {
		open func(t *testing.T) io.Reader
		want []byte
		temp int // files while it is written
	}{
		"bytes":             {func(*testing.T) io.Reader { return bytes.NewReader(data) }, data, 0},
		"bytes, begun":      {func(*testing.T) io.Reader { return begun(t, bytes.NewReader(data)) }, data[100:], 0},
		"empty bytes":       {func(*testing.T) io.Reader { return bytes.NewReader(nil) }, nil, 0},
		"file":              {func(t *testing.T) io.Reader { return open(t) }, data, 0},
		"file, begun":       {func(t *testing.T) io.Reader { return begun(t, open(t)) }, data[100:], 0},
		"pipe":              {func(t *testing.T) io.Reader { return pipe(t, data) }, data, 1},
		"small pipe":        {func(t *testing.T) io.Reader { return pipe(t, data[:1000]) }, data[:1000], 0},
		"stream":            {func(*testing.T) io.Reader { return stream{bytes.NewReader(data)} }, data, 1},
		"begun stream":      {func(t *testing.T) io.Reader { return begun(t, stream{bytes.NewReader(data)}) }, data[100:], 1},
		"stream in memory":  {func(*testing.T) io.Reader { return stream{bytes.NewReader(data[:1<<20-1])} }, data[:1<<20-1], 0},
		"stream at the rim": {func(*testing.T) io.Reader { return stream{bytes.NewReader(data[:1<<20])} }, data[:1<<20], 1},
		"empty stream":      {func(*testing.T) io.Reader { return stream{bytes.NewReader(nil)} }, nil, 0},
		"changed file":      {func(t *testing.T) io.Reader { return changing{open(t)} }, changed, 1},
		"device":            {func(t *testing.T) io.Reader { return device(t) }, nil, 0},
	} {
		t.Run(title, func(t *testing.T) {
			m := mock.New()
			looked := false
			l := &looking{Wrapper: replica.Wrapper{Store: m}, look: func(content replica.Content) {
				looked = true
				assert.Equal(t, int64(len(tt.want)), content.Size())
				assert.Len(t, openFiles(t, temp), tt.temp)
				entries, err := os.ReadDir(temp)
				require.NoError(t, err)
				assert.Empty(t, entries, "it has a name, and would stay after a crash")
			}}
			r := tt.open(t)
			info, err := replica.ClientOf(l).WriteLTXFile(t.Context(), 0, 1, 1, r)
			require.NoError(t, err)
			assert.Equal(t, int64(len(tt.want)), info.Size)
			got, _ := m.Bytes(0, 1, 1)
			assert.True(t, bytes.Equal(tt.want, got))
			assert.True(t, looked)
			n, err := r.Read(make([]byte, 1))
			assert.Zero(t, n)
			assert.Equal(t, io.EOF, err)
			assert.Empty(t, openFiles(t, temp))
		})
	}
}

// changing is a file whose Read changes what it reads, as its ReadAt doesn't.
type changing struct{ *os.File }

func (c changing) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	for i := range p[:n] {
		p[i] = 'x'
	}
	return n, err
}

func (c changing) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{c}) }

// begun reads a little of r.
func begun(t *testing.T, r io.Reader) io.Reader {
	_, err := io.ReadFull(r, make([]byte, 100))
	require.NoError(t, err)
	return r
}

func pipe(t *testing.T, data []byte) io.Reader {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	go func() {
		_, _ = w.Write(data)
		w.Close()
	}()
	return r
}

func device(t *testing.T) io.Reader {
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// A file whose size is told as 0 is read all the same.
func TestSpoolUnknownSize(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	require.NoError(t, err)
	defer f.Close()
	m := mock.New()
	info, err := replica.ClientOf(m).WriteLTXFile(t.Context(), 0, 1, 1, f)
	require.NoError(t, err)
	assert.Positive(t, info.Size)
}

// faulty gives data, then fails.
type faulty struct {
	data io.Reader
	then func() (int, error)
}

func (f *faulty) Read(p []byte) (int, error) {
	if n, err := f.data.Read(p); err != io.EOF {
		return n, err
	}
	return f.then()
}

// A stream that fails, that hangs or that gives nothing is no content, in memory or
// on disk, and leaves nothing.
func TestSpoolFails(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, size := range []int{0, 1000, spooled} {
		ctx, cancel := context.WithCancel(t.Context())
		for _, tt := range []struct {
			then func() (int, error)
			want error
		}{
			{func() (int, error) { return 0, errBroken }, errBroken},
			{func() (int, error) { return 0, io.ErrUnexpectedEOF }, io.ErrUnexpectedEOF},
			{func() (int, error) { return 0, fmt.Errorf("broken: %w", io.EOF) }, io.EOF},
			{func() (int, error) { return 0, nil }, io.ErrNoProgress},
			{func() (int, error) { cancel(); return 1, nil }, context.Canceled},
		} {
			m := mock.New()
			_, err := replica.ClientOf(m).WriteLTXFile(ctx, 0, 1, 1, &faulty{bytes.NewReader(storetest.Bytes(1, size)), tt.then})
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, name(0, 1, 1).String())
			assert.Zero(t, m.Calls(mock.OpWrite))
			assert.Empty(t, openFiles(t, temp))
			entries, err := os.ReadDir(temp)
			require.NoError(t, err)
			assert.Empty(t, entries)
		}
		cancel()
	}

	// There is no place to keep it.
	t.Setenv("TMPDIR", filepath.Join(temp, "missing"))
	_, err := replica.ClientOf(mock.New()).WriteLTXFile(t.Context(), 0, 1, 1, struct{ io.Reader }{bytes.NewReader(make([]byte, spooled))})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "keep the content on disk")

	// A name that can't be is refused before anything is read.
	_, err = replica.ClientOf(mock.New()).WriteLTXFile(t.Context(), 10, 1, 1, &faulty{bytes.NewReader(nil), func() (int, error) {
		panic("it was read")
	}})
	require.ErrorIs(t, err, os.ErrInvalid)
}

// Content is read at its pace, once, and is never shorter than it says.
func TestContentReader(t *testing.T) {
	data := storetest.Bytes(1, 10_000)
	asked := 0
	opts := replica.WriteOptions{Pace: func(_ context.Context, n int) error { asked += n; return nil }}
	got, err := io.ReadAll(opts.Reader(t.Context(), bytes.NewReader(data)))
	require.NoError(t, err)
	assert.Equal(t, data, got)
	assert.Equal(t, len(data), asked)

	short := io.NewSectionReader(bytes.NewReader(data), 0, 20_000)
	_, err = io.ReadAll(replica.WriteOptions{}.Reader(t.Context(), short))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	ctx, cancel := context.WithCancel(t.Context())
	r := replica.WriteOptions{}.Reader(ctx, bytes.NewReader(data))
	_, err = io.ReadFull(r, make([]byte, 10))
	require.NoError(t, err)
	cancel()
	_, err = r.Read(make([]byte, 10))
	require.ErrorIs(t, err, context.Canceled)

	opts.Pace = func(context.Context, int) error { return errBroken }
	_, err = io.ReadAll(opts.Reader(t.Context(), bytes.NewReader(data)))
	require.ErrorIs(t, err, errBroken)
}
