package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
			least, err := ParseLevel(level)
			require.NoError(t, err)
			logger, err := New(&out, least, format)
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
	_, err := ParseLevel("loud")
	require.ErrorContains(t, err, "loud")
	_, err = New(nil, slog.LevelInfo, "xml")
	require.ErrorContains(t, err, "xml")
}

// The level of a logger changes while it logs, and that of those made from it before.
func TestLevelChanges(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log, err := New(&out, &level, "text")
	require.NoError(t, err)
	child := log.With("database", "a")
	for _, to := range []slog.Level{slog.LevelInfo, slog.LevelDebug, slog.LevelWarn} {
		level.Set(to)
		log.Debug("one", "at", to)
		child.Debug("two", "at", to)
		child.Info("three", "at", to)
	}
	require.Regexp(t, `^\S+ level=INFO msg=three database=a at=INFO
\S+ level=DEBUG msg=one at=DEBUG
\S+ level=DEBUG msg=two database=a at=DEBUG
\S+ level=INFO msg=three database=a at=DEBUG
$`, out.String())
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

// A writer that is switched while it is being written to gets what is, and is closed then;
// what comes after goes to the next one, and nothing is lost.
func TestSwitch(t *testing.T) {
	first := &closing{stalled: newStalled()}
	second, third := &closing{stalled: newStalled()}, &closing{stalled: newStalled()}
	close(second.goOn)
	close(third.goOn)
	q := NewQueue(first, "text")
	fmt.Fprint(q, "one\n")
	<-first.entered
	fmt.Fprint(q, "two\n")
	q.Switch(second)
	q.Switch(third) // before anything was written to the second
	fmt.Fprint(q, "three\n")
	require.Zero(t, first.closed)
	close(first.goOn)
	flush(t, q)
	q.Switch(&closing{stalled: second.stalled})
	fmt.Fprint(q, "four\n")
	flush(t, q)
	require.Equal(t, []string{"one\n", "four\n", "two\nthree\n"}, []string{first.String(), second.String(), third.String()})
	require.Equal(t, []int{1, 1, 1}, []int{first.closed, second.closed, third.closed})
}

// closing is a stalled writer that counts how often it is closed.
type closing struct {
	*stalled
	closed int
}

func (c *closing) Close() error {
	c.closed++
	return nil
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
