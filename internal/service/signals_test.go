package service

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/internal/service/state"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// usedMount is a mount that has been used, and counts how often its listings are dropped.
type usedMount struct {
	mounted
	dropped int
}

func (m *usedMount) DropListings() { m.dropped++ }
func (m *usedMount) Usage() fs.Usage {
	return fs.Usage{Cache: blocks.Stats{Hits: 3, Misses: 4, CachedBytes: 5}, Budget: 7, BudgetUsed: 6, Replicas: 1, Inodes: 8, Unpublished: 2}
}

// used is a server of such a mount, which logs to a file in a directory of its own.
func used(t *testing.T) (s *server, m *usedMount, path string) {
	t.Helper()
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	path = filepath.Join(t.TempDir(), "log")
	s, _ = testServer(t, settings.Mount{Mountpoint: "/mnt/a", LogFile: path})
	require.NoError(t, s.openState())
	t.Cleanup(s.state.Remove)
	m = &usedMount{}
	s.mounted = m
	return s, m, path
}

func logged(t *testing.T, s *server, path string) string {
	t.Helper()
	s.flush()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// A reload goes on with a new log file where the one before was moved away, and keeps that
// where there can't be a new one.
func TestReload(t *testing.T) {
	s, m, path := used(t)
	s.log.Info("one")
	require.NoError(t, os.Rename(path, path+".1"))
	s.log.Info("two")
	require.Regexp(t, `^\S+ level=INFO msg=one\n\S+ level=INFO msg=two\n$`, logged(t, s, path+".1"))
	s.reload()
	s.log.Info("three")
	require.Equal(t, 1, m.dropped)
	require.Regexp(t, `^\S+ level=INFO msg="dropped all listings" signal=hangup\n\S+ level=INFO msg=three\n$`, logged(t, s, path))
	require.NotContains(t, logged(t, s, path+".1"), "three")

	require.NoError(t, os.Rename(path, path+".2"))
	require.NoError(t, os.Mkdir(path, 0o700))
	s.reload()
	require.Equal(t, 2, m.dropped)
	require.Regexp(t, `\n\S+ level=ERROR msg="can't reopen the log file; logging goes on to the one that was open" error="open the log file: open [^\n]*: is a directory[^\n]*"\n[^\n]*msg="dropped all listings"[^\n]*\n$`,
		logged(t, s, path+".2"))
}

// A dump has the figures in one line, and each goroutine in one, whatever is logged else.
func TestDump(t *testing.T) {
	s, _, path := used(t)
	require.NoError(t, s.SetLevel("error"))
	s.dump()
	lines := strings.Split(strings.TrimSpace(logged(t, s, path)), "\n")
	require.Regexp(t, `level=INFO msg=dump version=v1 up=0s goroutines=\d+ unpublished=2 budget=7 budget_used=6 cached=5 hits=3 misses=4 fetched=0 evictions=0 replicas=1 inodes=8$`, lines[0])
	require.Greater(t, len(lines), 2)
	for _, line := range lines[1:] {
		require.Regexp(t, `level=INFO msg="goroutine \d+ \[[^\]]+\]" stack="?\S`, line)
	}
	require.Regexp(t, `\(\*server\)\.dump\([^\n]* < github\.com/ltxfs/ltxfs/internal/service\.TestDump\(`, lines[1])
}

// The log's level changes while the server runs, to one that there is.
func TestSetLevel(t *testing.T) {
	s, _, path := used(t)
	child := s.log.With("database", "x")
	child.Debug("one")
	require.NoError(t, s.SetLevel("debug"))
	child.Debug("two")
	require.ErrorContains(t, s.SetLevel("loud"), "loud")
	require.NoError(t, s.SetLevel("error"))
	child.Warn("three")
	require.Regexp(t, `^\S+ level=DEBUG msg=two database=x\n$`, logged(t, s, path))
}

// What a signal asks is done each time, until the mount ends.
func TestAttend(t *testing.T) {
	s, m, path := used(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s.reloads, s.dumps = make(chan os.Signal, 1), make(chan os.Signal, 1)
		s.attend(ctx)
		for n := range 3 {
			s.reloads <- reloadSignal
			s.dumps <- dumpSignal
			synctest.Wait()
			require.Equal(t, n+1, m.dropped)
		}
		cancel()
		synctest.Wait()
		s.reloads <- reloadSignal
		synctest.Wait()
		require.Equal(t, 3, m.dropped)
	})
	require.Equal(t, 3, strings.Count(logged(t, s, path), "msg=dump "))
}
