package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/service/state"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// unread is a writer that nobody reads from until it is closed.
type unread chan struct{}

func (u unread) Write(p []byte) (int, error) {
	<-u
	return len(p), nil
}

// testServer is a server that logs in short to out.
func testServer(t *testing.T, cfg settings.Mount) (s *server, out *bytes.Buffer) {
	t.Helper()
	out = &bytes.Buffer{}
	cfg.LogLevel, cfg.LogFormat = "info", "text"
	s, err := newServer(cfg, "v1", out)
	require.NoError(t, err)
	return s, out
}

// A terminal that is stopped delays the end of the process by two seconds, and
// no more.
func TestLogThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := make(unread)
		begin := time.Now()
		s, err := newServer(settings.Mount{LogLevel: "info", LogFormat: "text"}, "v1", stderr)
		require.NoError(t, err)
		_, err = s.logged.Write([]byte("line\n"))
		require.NoError(t, err)
		s.flush()
		require.Equal(t, logging.Patience, time.Since(begin))
		close(stderr)
	})
}

// What was logged before the log file was open is in it, too, after the log of the
// mount before.
func TestLogFile(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("before\n"), 0o600))
	s, out := testServer(t, settings.Mount{Mountpoint: "/mnt/a", LogFile: path})
	s.log.Warn("one")
	require.NoError(t, s.openState())
	s.log.Warn("two")
	require.ErrorContains(t, s.finish(errors.New("three")), "three")
	require.Regexp(t, "^[^\n]*msg=one\n$", out.String())
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, "^before\n[^\n]*msg=one\n[^\n]*msg=two\n[^\n]*error=three\n$", string(got))

	s, _ = testServer(t, settings.Mount{Mountpoint: "/mnt/a", LogFile: "/dev/full"})
	s.log.Warn("one")
	require.ErrorIs(t, s.openState(), unix.ENOSPC)
	require.NoError(t, s.finish(nil))

	s, _ = testServer(t, settings.Mount{Mountpoint: filepath.Dir(path), LogFile: path})
	err = s.openState()
	require.Equal(t, exitcode.Usage, exitcode.Of(err))
	require.ErrorContains(t, err, "--log-file")
}

// Who mounts hears that the log can't be written, and so does systemd as long as that is so.
func TestLogIsLost(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	s, out := testServer(t, settings.Mount{Source: settings.Source{Path: "/srv/r"}, Mountpoint: "/mnt/a", LogFile: "/dev/full"})
	require.NoError(t, s.openState())
	s.mounted = &usedMount{}
	s.announce()
	s.flush()
	const lost = "log lines are lost: write /dev/full: no space left on device"
	require.Equal(t, "ltxfs: "+lost+"\n", out.String())
	require.Equal(t, "/srv/r read-only on /mnt/a, 2 files unpublished; "+lost, s.status())
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	s.logged.Switch(null)
	s.log.Info("one")
	s.flush()
	require.Equal(t, "/srv/r read-only on /mnt/a, 2 files unpublished", s.status())
	s.state.Remove()
}

// A log file that nobody reads holds the mount up for two seconds, and no more.
func TestLogFileThatNobodyReads(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer pipe.Close()
	_, err = pipe.Write(make([]byte, 1<<16)) // as much as it holds
	require.NoError(t, err)
	s, _ := testServer(t, settings.Mount{Mountpoint: "/mnt/a", LogFile: path})
	s.log.Warn("one")
	require.NoError(t, s.openState())
	_, err = io.ReadFull(pipe, make([]byte, 1<<16))
	require.NoError(t, err)
	require.NoError(t, s.finish(nil))
	line := make([]byte, 1000)
	n, err := pipe.Read(line)
	require.NoError(t, err)
	require.Contains(t, string(line[:n]), "msg=one")
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
		s, out := testServer(t, settings.Mount{Source: settings.Source{Path: "/srv/r"}, StagingDir: base})
		s.lookForLeftovers(&s.cfg.Source)
		s.flush()
		return out.String()
	}
	require.Contains(t, look(base), `msg="left unpublished by an earlier mount: mount with --rw to see how to publish or discard it" file=ltx/0000/a.tmp size=0 staged=`+dir.Path())
	require.Empty(t, look(filepath.Join(base, "none")))
	require.NoError(t, os.Chmod(base, 0o777))
	require.Contains(t, look(base), "can't look for files that earlier mounts left unpublished")
}

// A store that never answers can be waited for, or not.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		interrupt time.Duration
		took      time.Duration
		code      exitcode.Code
		says      string
	}{
		"interrupted": {time.Second, time.Second, exitcode.Failure, "open replica /srv/r: interrupted by the signal terminated"},
		"waited for": {time.Hour, openTimeout + openPatience, exitcode.Timeout,
			"open replica /srv/r: no answer within 30s: check the file system that holds it"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := make(chan struct{})
				s, out := testServer(t, settings.Mount{Source: settings.Source{Path: "/srv/r"}})
				s.open = func(context.Context, *settings.Source, *slog.Logger) (*replicas.Opened, error) {
					<-answer
					return nil, errors.New("too late")
				}
				timer := time.AfterFunc(tt.interrupt, func() { s.signals <- unix.SIGTERM })
				defer timer.Stop()
				begin := time.Now()
				err := s.openReplica()
				require.EqualError(t, err, tt.says)
				require.Equal(t, tt.code, exitcode.Of(err))
				require.Equal(t, tt.took, time.Since(begin))
				require.Nil(t, s.replica)
				require.NoError(t, s.finish(nil))
				s.flush()
				require.Equal(t, tt.took > openPatience, bytes.Contains(out.Bytes(), []byte("the store hasn't answered yet")))
				close(answer)
			})
		})
	}
}

// The store's own words count more than the deadline.
func TestStoreThatSaysWhyItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := exitcode.Errorf(exitcode.NoReplica, "connection refused: check the endpoint")
		s, _ := testServer(t, settings.Mount{})
		s.open = func(ctx context.Context, _ *settings.Source, _ *slog.Logger) (*replicas.Opened, error) {
			<-ctx.Done()
			return nil, errors.Join(want, ctx.Err())
		}
		begin := time.Now()
		err := s.openReplica()
		require.ErrorIs(t, err, want)
		require.Equal(t, exitcode.NoReplica, exitcode.Of(err))
		require.Equal(t, openTimeout, time.Since(begin))
	})
}

// A store that takes a connection and never answers can be waited for, or not.
func TestInterruptedWaitForStore(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	asked := make(chan struct{})
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1))
		close(asked)
		_, _ = conn.Read(make([]byte, 1<<16)) // until the client gives up
	}()

	t.Setenv("LTXFS_S3_ACCESS_KEY_ID", "key")
	t.Setenv("LTXFS_S3_SECRET_ACCESS_KEY", "notsosecret")
	cfg := settings.New()
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	cfg.Define(flags)
	require.NoError(t, cfg.Parse(flags, "s3://bucket/path?endpoint=http://"+l.Addr().String(), "/mnt", os.LookupEnv))
	s, _ := testServer(t, *cfg)
	go func() {
		<-asked
		s.signals <- unix.SIGTERM
	}()
	begin := time.Now()
	err = s.openReplica()
	require.EqualError(t, err, "open replica s3://bucket/path: interrupted by the signal terminated")
	require.Less(t, time.Since(begin), openTimeout)
	require.Nil(t, s.replica)
	s.flush()
	require.NoError(t, s.finish(nil))
}

// endedMount is a mount that has left files.
type endedMount struct {
	mounted
	left []staging.Entry
}

func (m *endedMount) Close()                       {}
func (m *endedMount) Unpublished() []staging.Entry { return m.left }

// What is left unpublished is told, logged and kept in the state file; of a mount
// that leaves nothing, nothing stays.
func TestFinish(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	finish := func(m *endedMount, because error) (out string, err error) {
		s, buf := testServer(t, settings.Mount{Mountpoint: "/mnt/a"})
		s.mounted = m
		s.staging, err = staging.Open(t.TempDir(), "file:///srv/r")
		require.NoError(t, err)
		s.state, err = state.Acquire(state.Default(), state.State{PID: os.Getpid(), Mountpoint: "/mnt/a"})
		require.NoError(t, err)
		err = s.finish(because)
		return buf.String(), err
	}
	out, err := finish(&endedMount{}, nil)
	require.NoError(t, err)
	require.Contains(t, out, "exit_code=0 unpublished=0")
	_, err = state.Find([]state.Dir{state.Default()}, "/mnt/a")
	require.ErrorIs(t, err, os.ErrNotExist)

	left := []staging.Entry{{Name: "ltx/0000/a.tmp", Path: "/s/a.tmp", Err: errors.New("no room")}}
	out, err = finish(&endedMount{left: left}, exitcode.Errorf(exitcode.Busy, "mounted over"))
	require.Equal(t, exitcode.Unpublished, exitcode.Of(err))
	require.Contains(t, out, `error="mounted over"`)

	out, err = finish(&endedMount{left: left}, nil)
	require.Equal(t, exitcode.Unpublished, exitcode.Of(err))
	require.True(t, exitcode.IsReported(err))
	require.Contains(t, out, "ltx/0000/a.tmp (0 bytes): no room\n    kept in /s/a.tmp")
	require.Contains(t, out, "exit_code=8 unpublished=1")
	w, err := state.Find([]state.Dir{state.Default()}, "/mnt/a")
	require.NoError(t, err)
	defer w.Close()
	require.Equal(t, state.Ended, w.State.Phase)
	require.Equal(t, []state.Unpublished{{Name: "ltx/0000/a.tmp", Path: "/s/a.tmp", Error: "no room"}}, w.State.Result.Unpublished)
}
