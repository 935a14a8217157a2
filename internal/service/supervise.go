package service

import (
	"context"
	"fmt"
	"time"

	"github.com/ltxfs/ltxfs/internal/logging"
)

// statusEvery is how often what systemctl status shows is looked at.
const statusEvery = 5 * time.Second

// supervise tells systemd how the mount is, until ctx is done: a status line whenever that
// changes, and, as long as the mount is healthy, what its watchdog waits for. If that fails,
// systemd ends the process.
func (s *server) supervise(ctx context.Context) {
	if !s.reporter.Supervised() {
		return
	}
	every := statusEvery
	if half := s.reporter.Watchdog / 2; half > 0 {
		every = min(every, half)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	shown, sick := "", ""
	for {
		if status := s.status(); status != shown {
			s.warnNotify(s.reporter.Status(status))
			shown = status
		}
		if s.reporter.Watchdog > 0 {
			sick = s.feed(sick)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// feed feeds the watchdog, unless the mount isn't healthy. That it logs, if it isn't what the
// last call has returned.
func (s *server) feed(logged string) (sick string) {
	err := s.mounted.Healthy()
	if err == nil {
		s.warnNotify(s.reporter.Alive())
		return ""
	}
	if sick = err.Error(); sick != logged {
		s.log.Error("the mount isn't healthy: unless that changes, systemd's watchdog ends the process", "error", err)
	}
	return sick
}

// warnNotify logs that systemd wasn't told of something, unless that is so since the last call.
func (s *server) warnNotify(err error) {
	if err != nil && !s.unheard {
		s.log.Warn("can't tell systemd how the mount is", "error", err)
	}
	s.unheard = err != nil
}

// status is what systemctl status shows, in one line.
func (s *server) status() string {
	status := fmt.Sprintf("%s %s on %s, %s unpublished", logging.Shown(s.cfg.Name()), s.mode(), logging.Shown(s.cfg.Mountpoint),
		count(s.mounted.Usage().Unpublished))
	if err := s.logged.Err(); err != nil {
		status += fmt.Sprintf("; log lines are lost: %v", err)
	}
	return status
}
