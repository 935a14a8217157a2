package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/fs/staging"
)

// unread is a writer that nobody reads from until it is closed.
type unread chan struct{}

func (u unread) Write(p []byte) (int, error) {
	<-u
	return len(p), nil
}

// A terminal that is stopped delays the end of the process by two seconds, and
// no more.
func TestErrorThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := make(unread)
		begin := time.Now()
		require.Equal(t, exitcode.Usage, run([]string{"ltxfs", "nonsense"}, nil, io.Discard, stderr))
		require.Equal(t, flushTimeout, time.Since(begin))

		begin = time.Now()
		s := newServer(mountConfig{logFormat: "text"}, stderr)
		_, err := s.sink.Write([]byte("line\n"))
		require.NoError(t, err)
		s.flush()
		require.Equal(t, flushTimeout, time.Since(begin))
		close(stderr)
	})
}

// Nothing that was told at the end is lost.
func TestEndIsReported(t *testing.T) {
	t.Setenv("LTXFS_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	none := filepath.Join(t.TempDir(), "none")
	code, _, stderr := ltxfs("mount", "--log-level=debug", none, t.TempDir())
	require.Equal(t, exitcode.NoReplica, code)
	require.Contains(t, stderr, "ltxfs: open replica "+none+": no such directory")
}

// A mount that can't write tells what earlier ones left, and leaves it alone.
func TestLeftoversForReadOnlyMount(t *testing.T) {
	base := t.TempDir()
	dir, err := staging.Open(base, "file:///srv/r")
	require.NoError(t, err)
	f, err := dir.Create("ltx/0000/a.tmp")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, dir.Close())

	look := func(base string) string {
		var out bytes.Buffer
		s := newServer(mountConfig{source: onDisk("/srv/r"), stagingDir: base, logFormat: "text", logLevel: "info"}, &out)
		s.log, err = logging.New(s.sink, "info", "text")
		require.NoError(t, err)
		s.lookForLeftovers()
		s.flush()
		return out.String()
	}
	require.Contains(t, look(base), `msg="left unpublished by an earlier mount: mount with --rw to see how to publish or discard it" file=ltx/0000/a.tmp size=0 staged=`+dir.Path())
	require.Empty(t, look(filepath.Join(base, "none")))
	require.NoError(t, os.Chmod(base, 0o777))
	require.Contains(t, look(base), "can't look for files that earlier mounts left unpublished")
}
