package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
	"github.com/ltxfs/ltxfs/fs/staging"
)

// flushTimeout bounds the wait for whoever reads the log or standard error.
const flushTimeout = 2 * time.Second

// flush waits until what has been logged and told is out, unless nobody reads it.
func (s *server) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	// What can't be written there can be told nowhere.
	_ = errors.Join(s.sink.Flush(ctx), s.stderr.Flush(ctx))
}

// finish closes everything, tells what is left unpublished, and returns the
// error that the process ends with.
func (s *server) finish(err error) error {
	s.mounted.Close()
	var left []staging.Entry
	if s.staging != nil {
		// After Close, so that nothing is staged that isn't in the list.
		left = s.mounted.Unpublished()
		if cerr := s.staging.Close(); cerr != nil {
			s.log.Error("can't close the staging directory", "error", cerr)
			err = errors.Join(err, exitcode.Wrap(exitcode.Staging, cerr))
		}
	}
	if len(left) > 0 {
		reportUnpublished(s.plain, s.log, unpublishedOf(left), s.cfg.mountpoint)
		err = exitcode.Reported(exitcode.Unpublished)
	}
	if err != nil && !exitcode.IsReported(err) {
		s.log.Error("ended with an error", "error", err)
		if s.plain == io.Discard {
			err = errors.Join(exitcode.Reported(exitcode.Of(err)), err)
		}
	}
	if cerr := s.replica.Close(); cerr != nil {
		s.log.Warn("what is left to do at the store is not done", "error", cerr)
	}
	s.replica.LogRequests(s.log)
	s.log.Info("unmounted", "mountpoint", s.cfg.mountpoint, "exit_code", int(exitcode.Of(err)), "unpublished", len(left))
	s.flush() // before others hear of the end, and read the log
	s.tellResult(err, left)
	return err
}

// tellResult leaves word of how the mount ended, if it didn't end well.
func (s *server) tellResult(err error, left []staging.Entry) {
	if err == nil {
		s.state.Remove()
		return
	}
	s.state.State.Phase = state.Ended
	s.state.State.Result = &state.Result{
		Ended: time.Now().UTC(), ExitCode: int(exitcode.Of(err)), Error: err.Error(), Unpublished: unpublishedOf(left),
	}
	if serr := s.state.Save(); serr != nil {
		s.log.Error("can't write how the mount ended", "error", serr)
	}
	s.state.Release()
}

// abandon gives back what prepare took for a mount that failed.
func (s *server) abandon(err error) error {
	if s.staging != nil {
		err = errors.Join(err, s.staging.Close())
	}
	if s.replica != nil {
		err = errors.Join(err, s.replica.Close())
	}
	if s.state != nil {
		if s.logFile != nil {
			s.log.Error("not mounted", "error", err)
			s.flush()
		}
		s.state.Remove()
	}
	return err
}
