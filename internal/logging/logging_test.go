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

func TestWriterThatFails(t *testing.T) {
	q := NewQueue(brokenWriter{}, "text")
	fmt.Fprint(q, "one\n")
	require.ErrorContains(t, Flush(NewQueue(io.Discard, "text"), q), "full")
}

func flush(t *testing.T, f interface{ Flush(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, f.Flush(ctx))
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

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	open := func(rotate bool) {
		f, err := OpenFile(path, rotate)
		require.NoError(t, err)
		_, err = f.WriteString("line\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	open(true)
	require.NoFileExists(t, path+".1")
	open(false)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "line\nline\n", string(got))
	open(true)
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "line\n", string(got))
	got, err = os.ReadFile(path + ".1")
	require.NoError(t, err)
	require.Equal(t, "line\nline\n", string(got))

	_, err = OpenFile(filepath.Join(path, "no", "such"), false)
	require.ErrorContains(t, err, "--log-file")
}
