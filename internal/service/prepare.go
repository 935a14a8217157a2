package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/service/daemon"
	"github.com/ltxfs/ltxfs/internal/service/state"
	"github.com/ltxfs/ltxfs/internal/settings"
)

const (
	// openTimeout bounds the first look at the store.
	openTimeout = 30 * time.Second

	// openPatience is after how long somebody who waits is told for what, and how
	// much longer the store's own words are waited for.
	openPatience = 5 * time.Second
)

// prepare checks everything that can be checked before the mount and opens
// what it needs.
func (s *server) prepare() error {
	cfg, source := &s.cfg, &s.cfg.Source
	check := preflight.New(s.log)
	s.warnUnknownEnv()
	if cfg.Databases == nil && source.OnDisk() {
		if path, err := mounts.Resolve(source.Path); err == nil {
			source.Path = path
		}
		if err := check.Replica(source.Path, cfg.ReadWrite); err != nil {
			return err
		}
	}
	if err := check.FUSE(cfg.AllowOther); err != nil {
		return err
	}
	if path, err := mounts.Resolve(cfg.Mountpoint); err == nil {
		cfg.Mountpoint = path
	}
	if err := check.Mountpoint(cfg.Mountpoint, source.Path); err != nil {
		return s.withPID(err)
	}
	if err := s.openState(); err != nil {
		return err
	}
	if err := s.openDiskCache(); err != nil {
		return err
	}
	if err := s.listen(); err != nil || cfg.Databases != nil {
		return err
	}
	if err := s.openReplica(); err != nil {
		return err
	}
	if cfg.ReadWrite {
		return s.openStaging()
	}
	s.lookForLeftovers(source)
	return nil
}

// warnUnknownEnv tells of environment variables that do nothing.
func (s *server) warnUnknownEnv() {
	for _, u := range settings.UnknownEnv(os.Environ(), state.PathEnv, daemon.ReadyEnv) {
		args := []any{"name", u.Name}
		if u.Nearest != "" {
			args = append(args, "did_you_mean", u.Nearest)
		}
		s.log.Warn("unknown environment variable; it is passed over", args...)
	}
}

// withPID adds to an error about a live mount which process serves it.
func (s *server) withPID(err error) error {
	if exitcode.Of(err) != exitcode.AlreadyMounted {
		return err
	}
	w, ferr := state.Find(state.Of(uint32(os.Geteuid())), s.cfg.Mountpoint)
	if ferr != nil {
		return err
	}
	w.Close()
	return fmt.Errorf("%w (process %d)", err, w.State.PID)
}

// openDiskCache opens the disk cache, if there is to be one: of a replica on disk nothing is kept.
func (s *server) openDiskCache() (err error) {
	cfg := &s.cfg
	if cfg.DiskCache == "" || cfg.Databases == nil && cfg.Source.OnDisk() {
		return nil
	}
	if preflight.Inside(cfg.DiskCache, cfg.Mountpoint) {
		return exitcode.Errorf(exitcode.Usage, "mount on %s: the disk cache %s is in the mountpoint: choose another directory", cfg.Mountpoint, cfg.DiskCache)
	}
	warn := func() {
		s.log.Warn("the disk cache hasn't answered yet; still trying", "directory", cfg.DiskCache, "for_at_most", openTimeout)
	}
	wait := waiting{"disk cache " + cfg.DiskCache, warn, "check its disk, or give another directory"}
	s.disk, err = await(s, wait, func(context.Context) (*disk.Cache, error) {
		return disk.Open(disk.Options{Dir: cfg.DiskCache, Size: int64(cfg.DiskCacheSize), Check: cfg.DiskCacheCheck, Logger: s.log})
	})
	return err
}

// openState takes the mountpoint's lock and opens the log.
func (s *server) openState() error {
	cfg := &s.cfg
	dir := state.Default()
	rotate := cfg.LogFile == "" && s.reporter.InBackground()
	if rotate {
		cfg.LogFile = dir.LogPath(cfg.Mountpoint)
	}
	if cfg.LogFile != "" && preflight.Inside(cfg.LogFile, cfg.Mountpoint) { // the mount would be waiting for itself
		return exitcode.Errorf(exitcode.Usage, "mount on %s: the log file %s is in the mountpoint: choose another with --log-file",
			cfg.Mountpoint, cfg.LogFile)
	}
	var err error
	s.state, err = state.Acquire(dir, state.State{
		PID: os.Getpid(), Phase: state.Starting, Mountpoint: cfg.Mountpoint, Replica: cfg.Name(), ReplicaID: cfg.ID(),
		ReadWrite: cfg.ReadWrite, LogFile: cfg.LogFile, Version: s.version, Started: time.Now().UTC(),
	})
	switch {
	case errors.Is(err, state.ErrLocked):
		return s.withPID(exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: another ltxfs still serves or publishes for this mountpoint, or is about to: wait for its end", cfg.Mountpoint))
	case err != nil:
		return err
	case cfg.LogFile == "":
		return nil
	}
	if s.logFile, err = logging.OpenFile(cfg.LogFile, rotate); err != nil {
		return err
	}
	s.logged = logging.NewQueue(s.logFile, cfg.LogFormat)
	_, _ = s.early.WriteTo(s.logged) // a queue takes all
	if s.log, err = logging.New(s.logged, &s.level, cfg.LogFormat); err != nil {
		return err
	}
	if err := logging.Flush(s.logged); !errors.Is(err, context.DeadlineExceeded) { // one that nobody reads is no error
		return err
	}
	return nil
}

// openReplica has a look at the store.
func (s *server) openReplica() (err error) {
	name := s.cfg.Source.Name()
	warn := func() {
		s.log.Warn("the store hasn't answered yet; still trying", "replica", name, "for_at_most", openTimeout)
	}
	wait := waiting{"replica " + name, warn, "check the file system that holds it"}
	s.replica, err = await(s, wait, func(ctx context.Context) (*replicas.Opened, error) { return s.open(ctx, &s.cfg.Source, s.log) })
	return err
}

// waiting says what is waited for.
type waiting struct {
	what   string
	warn   func() // that it hasn't come yet
	advice string // if it doesn't come at all
}

// await opens what may not answer. A signal ends the wait for it.
func await[T any](s *server, w waiting, open func(context.Context) (T, error)) (v T, err error) {
	notice := time.AfterFunc(openPatience, w.warn)
	defer notice.Stop()
	landed := make(chan error, 1)
	// A call that hangs in a disk ends with no context.
	interrupt := flight.Go(context.Background(), flight.NewGroup(), openTimeout+openPatience, flight.Work[T]{
		Run: func(ctx context.Context) (T, error) {
			ctx, cancel := context.WithTimeout(ctx, openTimeout)
			defer cancel()
			return open(ctx)
		},
		Land: func(opened T, err error) {
			v = opened
			landed <- err
		},
	})
	select {
	case err = <-landed:
		if errors.Is(err, context.DeadlineExceeded) && exitcode.Of(err) == exitcode.Failure {
			err = exitcode.Errorf(exitcode.Timeout, "open %s: no answer within %s: %s", w.what, openTimeout, w.advice)
		}
	case sig := <-s.signals:
		err = fmt.Errorf("open %s: interrupted by the signal %v", w.what, sig)
		interrupt(err)
		<-landed
	}
	return v, err
}

// openStaging makes the staging directory, and tells what earlier mounts left.
func (s *server) openStaging() error {
	base, err := s.stagingBase()
	if err != nil {
		return exitcode.Wrap(exitcode.Staging, err)
	}
	for _, other := range []string{s.cfg.Mountpoint, s.cfg.Source.Path} {
		if other != "" && preflight.Inside(base, other) {
			return exitcode.Errorf(exitcode.Staging, "staging directory %s: it is in %s: choose another with --staging-dir", base, other)
		}
	}
	if s.staging, err = staging.Open(base, s.cfg.Source.ID()); err != nil {
		return exitcode.Wrap(exitcode.Staging, err)
	}
	s.state.State.StagingDir = s.staging.Path()
	if left := s.staging.Leftovers(); len(left) > 0 {
		reportLeftovers(s.plain, s.log, left, s.cfg.Mountpoint)
	}
	return nil
}

func (s *server) stagingBase() (string, error) {
	if s.cfg.StagingDir != "" {
		return s.cfg.StagingDir, nil
	}
	return staging.DefaultPath()
}

// lookForLeftovers logs what earlier mounts left, for a mount that can't write:
// it has no use for them, and needs no staging directory.
func (s *server) lookForLeftovers(source *settings.Source) {
	base, err := s.stagingBase()
	var left []staging.Entry
	if err == nil {
		left, err = staging.Scan(base, source.ID())
	}
	if err != nil {
		s.log.Warn("can't look for files that earlier mounts left unpublished", "error", err)
	}
	for _, e := range left {
		s.log.Warn("left unpublished by an earlier mount: mount with --rw to see how to publish or discard it",
			"file", e.Name, "size", e.Size, "staged", e.Path, "modified", e.ModTime)
	}
}
