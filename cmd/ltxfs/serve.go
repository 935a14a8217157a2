package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/daemon"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/mountinfo"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/source"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/fs/staging"
)

// heapLimit is where Go begins to collect garbage harder, in bytes. What ltxfs
// uses beyond the cache, which isn't on the heap, is to stay below 64 MiB.
const heapLimit = 48 << 20

// server is the process that serves one mount.
type server struct {
	cfg      mountConfig
	reporter *daemon.Reporter
	signals  chan os.Signal

	// plain gets what a user is told in words, log what is logged. Until
	// there is a log file, both go to stderr.
	plain   io.Writer
	stderr  *logging.Queue
	sink    *logging.Sink
	log     *slog.Logger
	logFile *os.File

	replica *source.Opened
	staging *staging.Dir
	state   *state.File
	mounted *fs.Mounted
}

func newServer(cfg mountConfig, stderr io.Writer) *server {
	queue := logging.NewQueue(stderr, cfg.logFormat)
	return &server{
		cfg:      cfg,
		reporter: daemon.FromEnvironment(),
		signals:  make(chan os.Signal, 8),
		plain:    queue,
		stderr:   queue,
		sink:     logging.NewSink(queue),
	}
}

// run mounts, serves the mount until it ends, and tells what is left of it.
func (s *server) run() (err error) {
	debug.SetMemoryLimit(heapLimit)
	// A log that nobody reads any more must not end the mount.
	signal.Ignore(unix.SIGPIPE)
	signal.Notify(s.signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, detachSignal)
	defer signal.Stop(s.signals)
	defer s.flush()
	if s.cfg.logFormat == "json" && s.cfg.logFile == "" && !s.reporter.InBackground() {
		s.plain = io.Discard // whoever reads the log reads nothing but JSON
	}
	if s.log, err = logging.New(s.sink, s.cfg.logLevel, s.cfg.logFormat); err != nil {
		return exitcode.Wrap(exitcode.Usage, err)
	}
	if err := s.prepare(); err != nil {
		return s.abandon(err)
	}
	if err := s.mount(); err != nil {
		return s.abandon(err)
	}
	if err := s.announce(); err != nil {
		s.log.Error("can't report the mount", "error", err)
	}
	return s.finish(s.serveUntilEnd())
}

// prepare checks everything that can be checked before the mount and opens
// what it needs.
func (s *server) prepare() error {
	cfg := &s.cfg
	check := preflight.New(s.log)
	for _, u := range unknownEnv() {
		s.warnUnknown(u)
	}
	if err := s.checkReplicaOnDisk(check); err != nil {
		return err
	}
	if err := check.FUSE(cfg.allowOther); err != nil {
		return err
	}
	if path, err := preflight.Resolve(cfg.mountpoint); err == nil {
		cfg.mountpoint = path
	}
	if cfg.source.OnDisk() {
		if err := check.Apart(cfg.source.Path, cfg.mountpoint); err != nil {
			return err
		}
	}
	if err := check.Mountpoint(cfg.mountpoint); err != nil {
		return s.withPID(err)
	}
	if err := s.openState(check); err != nil {
		return err
	}
	if err := s.openReplica(); err != nil {
		return err
	}
	if cfg.readWrite {
		return s.openStaging(check)
	}
	s.lookForLeftovers()
	return nil
}

// withPID adds to an error about a live mount which process serves it.
func (s *server) withPID(err error) error {
	if exitcode.Of(err) != exitcode.AlreadyMounted {
		return err
	}
	w, ferr := state.Find(state.Of(uint32(os.Geteuid())), s.cfg.mountpoint)
	if ferr != nil {
		return err
	}
	defer w.Close()
	if st, lerr := w.Load(); lerr == nil && st.PID != 0 {
		return fmt.Errorf("%w (process %d)", err, st.PID)
	}
	return err
}

// openState takes the mountpoint's lock and opens the log.
func (s *server) openState(check *preflight.Checker) error {
	cfg := &s.cfg
	dir := state.Default()
	rotate := false
	if cfg.logFile == "" && s.reporter.InBackground() {
		cfg.logFile, rotate = dir.LogPath(cfg.mountpoint), true
	}
	if cfg.logFile != "" {
		if err := check.Outside("the log file", "--log-file", cfg.logFile, cfg.mountpoint); err != nil {
			return err
		}
	}
	var err error
	s.state, err = state.Acquire(dir, state.State{
		PID: os.Getpid(), Phase: state.Starting, Mountpoint: cfg.mountpoint, Replica: cfg.source.Name(),
		ReadWrite: cfg.readWrite, LogFile: cfg.logFile, Version: version(), Started: time.Now().UTC(),
	})
	switch {
	case errors.Is(err, state.ErrLocked):
		return s.withPID(exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: another ltxfs still serves or publishes for this mountpoint, or is about to: wait for its end", cfg.mountpoint))
	case err != nil:
		return err
	case cfg.logFile == "":
		return nil
	}
	if rotate {
		if err := logging.Rotate(cfg.logFile); err != nil {
			return err
		}
	}
	if s.logFile, err = logging.OpenFile(cfg.logFile); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return s.sink.Switch(ctx, s.logFile)
}

// mount mounts, unless the process has been told to end meanwhile.
func (s *server) mount() error {
	cfg := &s.cfg
	select {
	case sig := <-s.signals:
		return fmt.Errorf("mount on %s: interrupted by the signal %v", cfg.mountpoint, sig)
	default:
	}
	var err error
	s.mounted, err = fs.Mount(cfg.mountpoint, fs.Options{
		Client:     s.replica.Client,
		ReadWrite:  cfg.readWrite,
		Staging:    s.staging,
		UID:        cfg.uid,
		GID:        cfg.gid,
		FileMode:   uint32(cfg.fileMode),
		DirMode:    uint32(cfg.dirMode),
		Freshness:  cfg.freshness,
		Settle:     cfg.source.Settle(),
		ExactTimes: cfg.exactTimes,

		ExactConcurrency: cfg.source.MetadataConcurrency(),

		CacheSize:    int64(cfg.cacheSize),
		AllowOther:   cfg.allowOther,
		Source:       cfg.source.Name(),
		MountOptions: cfg.kernelOptions,
		Logger:       s.log,
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission) && os.Geteuid() == 0:
		return exitcode.Errorf(exitcode.Permission,
			"%s: the kernel doesn't let this root mount: in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN", oneLine(err))
	case os.Geteuid() != 0:
		return fmt.Errorf("%s: see the message of fusermount3 above", oneLine(err))
	}
	return errors.New(oneLine(err))
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// announce tells everybody who waits that the mount is there.
func (s *server) announce() error {
	mode := "read-only"
	if s.cfg.readWrite {
		mode = "read-write"
	}
	s.log.Info("mounted", "replica", s.cfg.source.Name(), "mountpoint", s.cfg.mountpoint, "mode", mode,
		"layout", s.replica.Layout.Name, "version", version(), "pid", os.Getpid())
	s.state.State.Phase = state.Mounted
	err := s.state.Save()
	s.sink.Settle()
	if s.reporter.InBackground() {
		s.plain = io.Discard // the log has it all
		s.flush()            // before standard error is another
	}
	err = errors.Join(err, s.reporter.Ready(daemon.Ready{PID: os.Getpid(), LogFile: s.cfg.logFile}, s.logFile))
	if nerr := s.reporter.Started(); nerr != nil {
		s.log.Warn("can't tell systemd that the mount is there", "error", nerr)
	}
	return err
}

// serveUntilEnd waits for the end of the mount and sees to it.
func (s *server) serveUntilEnd() error {
	e := &ending{
		mount: s.mounted, log: s.log, signals: s.signals,
		grace: s.cfg.grace, drain: publishTimeout, onTop: s.topCheck(),
		begun: func() {
			s.state.State.Phase = state.Ending
			if err := errors.Join(s.state.Save(), s.reporter.Stopping()); err != nil {
				s.log.Warn("can't report that the mount ends", "error", err)
			}
		},
	}
	return e.wait()
}

// topCheck returns a function that tells whether our mount is the one that is
// seen at the mountpoint, and not one that somebody has mounted over it.
func (s *server) topCheck() func() bool {
	table, err := mountinfo.Read()
	own, ok := table.Top(s.cfg.mountpoint)
	if err != nil || !ok {
		return func() bool { return true }
	}
	return func() bool {
		table, err := mountinfo.Read()
		top, ok := table.Top(s.cfg.mountpoint)
		return err != nil || !ok || top.ID == own.ID
	}
}
