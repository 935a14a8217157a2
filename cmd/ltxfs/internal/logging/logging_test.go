package logging

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

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

func TestSink(t *testing.T) {
	var first, second bytes.Buffer
	sink := NewSink(&first)
	_, err := sink.Write([]byte("one\n"))
	require.NoError(t, err)
	require.Error(t, sink.Switch(brokenWriter{}))
	_, err = sink.Write([]byte("two\n"))
	require.NoError(t, err)
	require.NoError(t, sink.Switch(&second))
	_, err = sink.Write([]byte("three\n"))
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", first.String())
	require.Equal(t, "one\ntwo\nthree\n", second.String())
}

func TestSinkKeepsALimitedAmount(t *testing.T) {
	var first, second bytes.Buffer
	sink := NewSink(&first)
	line := bytes.Repeat([]byte("x"), 1<<10)
	for range 2 << 10 {
		_, err := sink.Write(line)
		require.NoError(t, err)
	}
	require.NoError(t, sink.Switch(&second))
	require.Equal(t, 2<<20, first.Len())
	require.Equal(t, maxKept, second.Len())
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
