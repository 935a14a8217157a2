package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	for _, level := range Levels {
		for _, format := range Formats {
			var out bytes.Buffer
			logger, err := New(&out, level, format)
			require.NoError(t, err)
			logger.Debug("low")
			require.Equal(t, level == "debug", out.Len() > 0)
			logger.Error("high", "key", "value with spaces")
			if format == "json" {
				require.Contains(t, out.String(), `"key":"value with spaces"`)
			} else {
				require.Contains(t, out.String(), `key="value with spaces"`)
			}
		}
	}
	_, err := New(nil, "loud", "text")
	require.ErrorContains(t, err, "loud")
	_, err = New(nil, "info", "xml")
	require.ErrorContains(t, err, "xml")
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func flush(t *testing.T, f interface{ Flush(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, f.Flush(ctx))
}

func TestSink(t *testing.T) {
	ctx := context.Background()
	var first, second bytes.Buffer
	sink := NewSink(NewQueue(&first, "text"))
	_, err := sink.Write([]byte("one\n"))
	require.NoError(t, err)
	require.ErrorContains(t, sink.Switch(ctx, brokenWriter{}), "full")
	_, err = sink.Write([]byte("two\n"))
	require.NoError(t, err)
	flush(t, sink)
	require.NoError(t, sink.Switch(ctx, &second))
	_, err = sink.Write([]byte("three\n"))
	require.NoError(t, err)
	flush(t, sink)
	require.Equal(t, "one\ntwo\n", first.String())
	require.Equal(t, "one\ntwo\nthree\n", second.String())
}

func TestSinkKeepsALimitedAmount(t *testing.T) {
	var first, second bytes.Buffer
	sink := NewSink(NewQueue(&first, "text"))
	line := bytes.Repeat([]byte("x"), 1<<10)
	for range 2 << 10 {
		_, err := sink.Write(line)
		require.NoError(t, err)
		flush(t, sink)
	}
	require.NoError(t, sink.Switch(context.Background(), &second))
	require.Equal(t, 2<<20, first.Len())
	require.Equal(t, maxKept, second.Len())
}

func TestSettledSinkKeepsNothing(t *testing.T) {
	var first, second bytes.Buffer
	sink := NewSink(NewQueue(&first, "text"))
	for range 2 {
		_, err := sink.Write([]byte("line\n"))
		require.NoError(t, err)
		sink.Settle()
		require.Nil(t, sink.kept)
	}
	require.NoError(t, sink.Switch(context.Background(), &second))
	require.Empty(t, second.String())
}

// stalled is a writer whose reader stops until go-on.
type stalled struct {
	entered, goOn chan struct{}
	once          sync.Once
	bytes.Buffer
}

func newStalled() *stalled {
	return &stalled{entered: make(chan struct{}), goOn: make(chan struct{})}
}

func (s *stalled) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.goOn
	return s.Buffer.Write(p)
}

// A log that isn't read holds nobody up: lines beyond the room for them are
// counted, and the count stands where they would have stood.
func TestStalledReader(t *testing.T) {
	for _, format := range Formats {
		w := newStalled()
		q := NewQueue(w, format)
		line := func(i int) string { return fmt.Sprintf("%01023d\n", i) }
		fmt.Fprint(q, line(0))
		<-w.entered
		for i := 1; i <= 1024+7; i++ { // 1024 fill the queue
			fmt.Fprint(q, line(i))
		}
		expired, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, q.Flush(expired), context.Canceled)
		close(w.goOn)
		flush(t, q)
		fmt.Fprint(q, "last\n")
		flush(t, q)

		var want strings.Builder
		for i := range 1025 {
			want.WriteString(line(i))
		}
		got, rest := w.String()[:want.Len()], w.String()[want.Len():]
		require.True(t, got == want.String())
		lines := strings.Split(rest, "\n")
		require.Len(t, lines, 3)
		require.Contains(t, lines[0], `"7 log lines were lost: the log isn't read"`)
		require.Equal(t, format == "json", strings.HasPrefix(lines[0], "{"))
		require.Equal(t, []string{"last", ""}, lines[1:])
	}
}

// A file that stalls when the log is switched to it is no error.
func TestSwitchToStalledWriter(t *testing.T) {
	w := newStalled()
	sink := NewSink(NewQueue(io.Discard, "text"))
	fmt.Fprint(sink, "one\n")
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, sink.Switch(expired, w))
	fmt.Fprint(sink, "two\n")
	close(w.goOn)
	flush(t, sink)
	require.Equal(t, "one\ntwo\n", w.String())
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	require.NoError(t, Rotate(path))
	for range 2 {
		f, err := OpenFile(path)
		require.NoError(t, err)
		_, err = f.WriteString("line\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "line\nline\n", string(got))
	require.NoError(t, Rotate(path))
	require.NoFileExists(t, path)
	require.FileExists(t, path+".1")

	_, err = OpenFile(filepath.Join(path, "no", "such"))
	require.ErrorContains(t, err, "--log-file")
}
