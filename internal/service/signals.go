package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/service/daemon"
)

const (
	// reloadSignal drops the listings and opens the log file anew. It never ends a mount: what
	// comes before there is one is kept until then.
	reloadSignal = unix.SIGHUP

	// dumpSignal logs what the process is doing.
	dumpSignal = unix.SIGUSR1

	// maxStacks is how much of the goroutines' stacks a dump logs, in bytes: the log's queue
	// has room for it, and for what others log meanwhile.
	maxStacks = 512 << 10
)

// attend does what signals ask of a mount that goes on, until ctx is done. A dump doesn't wait
// for a reload: what that hangs in, such as the disk of the log file, it is to show.
func (s *server) attend(ctx context.Context) {
	each := func(signals <-chan os.Signal, do func()) {
		for {
			select {
			case <-signals:
				do()
			case <-ctx.Done():
				return
			}
		}
	}
	go each(s.reloads, s.reload)
	go each(s.dumps, s.dump)
}

// reload opens the log file anew, for who has renamed it, and drops the listings.
func (s *server) reload() {
	if err := s.reopenLog(); err != nil {
		s.log.Error("can't reopen the log file; logging goes on to the one that was open", "error", err)
	}
	s.mounted.DropListings()
	s.log.Info("dropped all listings", "signal", fmt.Sprint(reloadSignal))
}

func (s *server) reopenLog() error {
	if s.logFile == nil {
		return nil
	}
	f, err := logging.OpenFile(s.cfg.LogFile, false)
	if err != nil {
		return err
	}
	if s.reporter.InBackground() {
		err = daemon.LogTo(f)
	}
	s.logged.Switch(f)
	return err
}

// SetLevel changes the least level that is logged, to one of logging.Levels.
func (s *server) SetLevel(level string) error {
	least, err := logging.ParseLevel(level)
	if err == nil {
		s.level.Set(least)
	}
	return err
}

// always is a handler that takes lines of each level.
type always struct{ slog.Handler }

func (always) Enabled(context.Context, slog.Level) bool { return true }

// dump logs what the mount has done and holds, and a line for each goroutine, whatever the
// level of the log is.
func (s *server) dump() {
	log := slog.New(always{s.log.Handler()})
	u := s.mounted.Usage()
	log.Info("dump", "version", s.version, "up", time.Since(s.state.State.Started).Round(time.Second),
		"goroutines", runtime.NumGoroutine(), "unpublished", u.Unpublished,
		"budget", u.Budget, "budget_used", u.BudgetUsed, "cached", u.Cache.CachedBytes, "hits", u.Cache.Hits,
		"misses", u.Cache.Misses, "fetched", u.Cache.FetchedBytes, "evictions", u.Cache.Evictions,
		"replicas", u.Replicas, "inodes", u.Inodes)
	s.opener.LogRequests(log)
	stacks := make([]byte, maxStacks)
	n := runtime.Stack(stacks, true)
	for one := range strings.SplitSeq(strings.TrimSpace(string(stacks[:n])), "\n\n") {
		head, frames, _ := strings.Cut(one, "\n")
		log.Info(strings.TrimSuffix(head, ":"), "stack", oneLine(frames))
	}
	if n == maxStacks {
		log.Info("there are more goroutines than a dump has room for")
	}
}

// oneLine is a stack in one line, from the innermost call outwards. A frame is two lines:
// a function with its arguments, and a place.
func oneLine(frames string) string {
	return strings.NewReplacer("\n\t", " ", "\n", " < ").Replace(frames)
}
