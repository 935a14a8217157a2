package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/source"
	"github.com/ltxfs/ltxfs/fs/staging"
)

const (
	// initTimeout bounds the first look at the store.
	initTimeout = 30 * time.Second

	// initPatience is after how long somebody who waits is told for what.
	initPatience = 5 * time.Second
)

// warnUnknown tells of an environment variable that does nothing.
func (s *server) warnUnknown(u options.Unknown) {
	if u.Nearest == "" {
		s.log.Warn("unknown environment variable; it is passed over", "name", u.Name)
		return
	}
	s.log.Warn("unknown environment variable; it is passed over", "name", u.Name, "did_you_mean", u.Nearest)
}

// checkReplicaOnDisk checks a replica that is a directory, whose links it
// resolves.
func (s *server) checkReplicaOnDisk(check *preflight.Checker) error {
	src := &s.cfg.source
	if !src.OnDisk() {
		return nil
	}
	if path, err := preflight.Resolve(src.Path); err == nil {
		src.Path = path
	}
	if err := check.Replica(src.Path); err != nil {
		return err
	}
	if s.cfg.readWrite {
		return check.CanWrite(src.Path)
	}
	return nil
}

// openReplica makes the client of the replica, and finds out its layout. A
// signal ends the wait for the store.
func (s *server) openReplica() error {
	cfg := &s.cfg
	ctx, cancel := context.WithTimeout(context.Background(), initTimeout)
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	type result struct {
		opened *source.Opened
		err    error
	}
	done := make(chan result, 1)
	go func() {
		opened, err := cfg.source.Open(ctx, source.Options{
			Layout:       cfg.layout,
			VerifyWrites: cfg.verifyWrites,
			LimitRead:    int64(cfg.limitRead),
			LimitWrite:   int64(cfg.limitWrite),
			MaxRequests:  cfg.maxRequests,
			Logger:       s.log,
		})
		done <- result{opened, err}
	}()
	notice, late := time.NewTimer(initPatience), time.NewTimer(initTimeout+initPatience)
	defer notice.Stop()
	defer late.Stop()
	for {
		select {
		case r := <-done:
			s.replica = r.opened
			return r.err
		case sig := <-s.signals:
			interrupt(fmt.Errorf("interrupted by the signal %v", sig))
		case <-notice.C:
			s.log.Warn("the store hasn't answered yet; still trying", "replica", cfg.source.Name(), "for_at_most", initTimeout)
		case <-late.C: // a disk that hangs heeds no context
			return exitcode.Errorf(exitcode.Timeout, "open replica %s: no answer within %s: check the file system that holds it",
				cfg.source.Name(), initTimeout)
		}
	}
}

// openStaging makes the staging directory, and tells what earlier mounts left.
func (s *server) openStaging(check *preflight.Checker) error {
	base, err := s.stagingBase()
	if err != nil {
		return exitcode.Wrap(exitcode.Staging, err)
	}
	for _, other := range []string{s.cfg.mountpoint, s.cfg.source.Path} {
		if other != "" && preflight.Inside(base, other) {
			return exitcode.Errorf(exitcode.Staging, "staging directory %s: it is in %s: choose another with --staging-dir", base, other)
		}
	}
	dir, err := staging.Open(base, s.cfg.source.ID())
	if err != nil {
		return exitcode.Wrap(exitcode.Staging, err)
	}
	s.staging = dir
	s.state.State.StagingDir = dir.Path()
	if left := dir.Leftovers(); len(left) > 0 {
		reportLeftovers(s.plain, s.log, left, s.cfg.mountpoint)
	}
	return nil
}

// stagingBase is the directory of all staging directories.
func (s *server) stagingBase() (string, error) {
	if s.cfg.stagingDir != "" {
		return s.cfg.stagingDir, nil
	}
	return staging.DefaultPath()
}

// lookForLeftovers logs what earlier mounts left, for a mount that can't write:
// it has no use for them, and needs no staging directory.
func (s *server) lookForLeftovers() {
	base, err := s.stagingBase()
	var left []staging.Entry
	if err == nil {
		left, err = staging.Scan(base, s.cfg.source.ID())
	}
	if err != nil {
		s.log.Warn("can't look for files that earlier mounts left unpublished", "error", err)
	}
	for _, e := range left {
		s.log.Warn("left unpublished by an earlier mount: mount with --rw to see how to publish or discard it",
			"file", e.Name, "size", e.Size, "staged", e.Path, "modified", e.ModTime)
	}
}
