// Package service is the life of a mount: the process that serves it, from the checks
// before it to the report of what it leaves unpublished, and what the commands need to
// end that process from outside.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/service/daemon"
	"github.com/ltxfs/ltxfs/internal/service/state"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/internal/telemetry"
)

// server is the process that serves one mount.
type server struct {
	cfg      settings.Mount
	version  string
	reporter *daemon.Reporter
	unheard  bool           // by systemd, when that was told last
	signals  chan os.Signal // that end the mount
	reloads  chan os.Signal
	dumps    chan os.Signal

	// plain gets what a user is told in words, log what is logged. Until
	// there is a log file, both go to stderr, and early keeps what it will begin
	// with.
	plain          io.Writer
	stderr, logged *logging.Queue
	early          bytes.Buffer
	log            *slog.Logger
	level          slog.LevelVar
	logFile        *os.File // that was opened first

	open    func(ctx context.Context, source *settings.Source, log *slog.Logger) (*replicas.Opened, error)
	opener  *replicas.Opener
	disk    *disk.Cache      // nil without one
	replica *replicas.Opened // nil if all databases are shown
	staging *staging.Dir
	state   *state.File
	mounted mounted

	http, control net.Listener // http is nil unless it is asked for
	telemetry     *telemetry.Server
	ready         atomic.Bool // the mount is there, and doesn't end
}

// mounted is a mount that the kernel has accepted: an fs.Mounted.
type mounted interface {
	Done() <-chan struct{}
	Unmount() error
	Detach() error
	Drain(ctx context.Context) error
	Unpublished() []staging.Entry
	DropListings()
	Usage() fs.Usage
	Healthy() error
	Close()
}

func newServer(cfg settings.Mount, version string, stderr io.Writer) (*server, error) {
	s := &server{
		cfg: cfg, version: version, reporter: daemon.FromEnvironment(),
		signals: make(chan os.Signal, 8), reloads: make(chan os.Signal, 1), dumps: make(chan os.Signal, 1),
	}
	s.opener = replicas.NewOpener(&s.cfg)
	s.open = s.opener.Open
	toFile := cfg.LogFile != "" || s.reporter.InBackground()
	toJournal := cfg.LogFormat == settings.Auto && !toFile && logging.ToJournal()
	if cfg.LogFormat == settings.Auto {
		s.cfg.LogFormat = "text"
	}
	queue := logging.NewQueue(stderr, s.cfg.LogFormat)
	s.plain, s.stderr, s.logged = queue, queue, queue
	var w io.Writer = queue
	switch {
	case toFile:
		w = io.MultiWriter(queue, &s.early)
	case toJournal:
		s.cfg.LogFormat = logging.Journal
		s.logged = logging.NewQueue(logging.NewJournal(stderr), logging.Journal)
		w = s.logged
	case cfg.LogFormat == "json":
		s.plain = io.Discard // whoever reads the log reads nothing but JSON
	}
	err := s.SetLevel(cfg.LogLevel)
	if err == nil {
		s.log, err = logging.New(w, &s.level, s.cfg.LogFormat)
	}
	return s, exitcode.Wrap(exitcode.Usage, err)
}

// Run mounts, serves the mount until it ends, and tells what is left of it. version
// goes into the log and the state file.
func Run(cfg *settings.Mount, version string, stderr io.Writer) error {
	s, err := newServer(*cfg, version, stderr)
	if err != nil {
		return err
	}
	limitHeap(0)
	// A log that nobody reads any more must not end the mount.
	signal.Ignore(unix.SIGPIPE)
	signal.Notify(s.signals, unix.SIGINT, unix.SIGTERM, detachSignal)
	signal.Notify(s.reloads, reloadSignal)
	signal.Notify(s.dumps, dumpSignal)
	defer signal.Stop(s.signals) // the others don't end the process even now
	defer s.flush()
	err = s.prepare()
	if err == nil {
		err = s.mount()
	}
	if err == nil {
		s.announce()
		err = s.serve()
	}
	return s.finish(err)
}

// mount mounts, unless the process has been told to end meanwhile.
func (s *server) mount() error {
	cfg := &s.cfg
	select {
	case sig := <-s.signals:
		return fmt.Errorf("mount on %s: interrupted by the signal %v", cfg.Mountpoint, sig)
	default:
	}
	s.limitCache()
	opts := fs.Options{
		ReadWrite:    cfg.ReadWrite,
		UID:          cfg.UID,
		GID:          cfg.GID,
		FileMode:     uint32(cfg.FileMode),
		DirMode:      uint32(cfg.DirMode),
		NoDB:         cfg.NoDB,
		ExactDB:      cfg.ExactDB,
		CacheSize:    int64(cfg.CacheSize),
		DiskCache:    s.disk,
		Heap:         limitHeap,
		AllowOther:   cfg.AllowOther,
		Source:       cfg.Origin(),
		MountOptions: cfg.KernelOptions,
		Logger:       s.log,
	}
	if cfg.Databases != nil {
		opts.Databases = s.databases()
	} else {
		opts.Tree = s.tree(&cfg.Source, s.replica, s.staging)
	}
	m, err := fs.Mount(cfg.Mountpoint, opts)
	if err == nil {
		s.mounted = m
		s.tell(m)
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ") // on one line
	options := strings.Join(cfg.KernelOptions, ",")
	switch {
	case errors.Is(err, os.ErrPermission) && os.Geteuid() == 0:
		return exitcode.Errorf(exitcode.Permission,
			"%s: the kernel doesn't let this root mount: in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN", text)
	case os.Geteuid() != 0:
		return fmt.Errorf("%s: see the message of fusermount3 above", text)
	case errors.Is(err, unix.EINVAL) && strings.Contains(options, "="):
		return exitcode.Errorf(exitcode.Usage, "%s: the kernel refuses the mount options %s: contexts need SELinux, and must be in its policy",
			text, options)
	}
	return errors.New(text)
}

// announce tells everybody who waits that the mount is there.
func (s *server) announce() {
	attrs := []any{"mountpoint", s.cfg.Mountpoint, "mode", s.mode(), "version", s.version, "pid", os.Getpid()}
	if s.replica != nil {
		attrs = append(attrs, "layout", s.replica.Layout.Name)
	}
	s.log.Info("mounted", append([]any{"replica", s.cfg.Name()}, attrs...)...)
	if s.logFile != nil {
		s.flush() // while who mounts reads standard error
		if err := s.logged.Err(); err != nil {
			fmt.Fprintf(s.plain, "ltxfs: log lines are lost: %v\n", err)
		}
	}
	s.ready.Store(true)
	s.state.State.Phase = state.Mounted
	err := s.state.Save()
	if s.reporter.InBackground() {
		s.plain = io.Discard // the log has it all
		s.flush()            // before standard error is another
	}
	if err := errors.Join(err, s.reporter.Ready(s.logFile)); err != nil {
		s.log.Error("can't report the mount", "error", err)
	}
	if err := s.reporter.Started(); err != nil {
		s.log.Warn("can't tell systemd that the mount is there", "error", err)
	}
}

func (s *server) mode() string {
	if s.cfg.ReadWrite {
		return "read-write"
	}
	return "read-only"
}

// serve waits for the end of the mount and sees to it.
func (s *server) serve() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.attend(ctx)
	go s.supervise(ctx)
	table, err := mounts.Read()
	own := table.Top(s.cfg.Mountpoint)
	e := &ending{
		mount: s.mounted, log: s.log, signals: s.signals, grace: s.cfg.Grace,
		onTop: func() bool {
			if err != nil || own == nil {
				return true
			}
			table, err := mounts.Read()
			top := table.Top(s.cfg.Mountpoint)
			return err != nil || top == nil || top.ID == own.ID
		},
		begun: func() {
			s.ready.Store(false)
			s.state.State.Phase = state.Ending
			if err := errors.Join(s.state.Save(), s.reporter.Stopping()); err != nil {
				s.log.Warn("can't report that the mount ends", "error", err)
			}
		},
	}
	return e.wait()
}

// flush waits until what has been logged and told is out, unless nobody reads it. What
// can't be written there can be told nowhere.
func (s *server) flush() { _ = logging.Flush(s.logged, s.stderr) }

// finish closes everything, tells what is left unpublished, and returns the
// error that the process ends with.
func (s *server) finish(err error) error {
	var left []state.Unpublished
	s.hush()
	if s.mounted != nil {
		if err != nil {
			s.log.Error("ended with an error", "error", err)
		}
		s.mounted.Close()
		// After Close, so that nothing is staged that isn't in the list.
		left = unpublishedOf(s.mounted.Unpublished())
	}
	if len(left) > 0 {
		reportUnpublished(s.plain, s.log, left, s.cfg.Mountpoint)
		err = exitcode.Reported(exitcode.Unpublished)
	}
	if s.staging != nil {
		if cerr := s.staging.Close(); cerr != nil {
			s.log.Error("can't close the staging directory", "error", cerr)
			err = errors.Join(err, exitcode.Wrap(exitcode.Staging, cerr))
		}
	}
	if s.disk != nil {
		s.disk.Close()
	}
	if cerr := s.opener.Close(); cerr != nil {
		s.log.Warn("what is left to do at the store is not done", "error", cerr)
	}
	if s.mounted != nil {
		s.opener.LogRequests(s.log)
	}
	switch {
	case s.mounted != nil:
		s.log.Info("unmounted", "mountpoint", s.cfg.Mountpoint, "exit_code", int(exitcode.Of(err)), "unpublished", len(left))
	case s.logFile != nil: // else standard error will have it
		s.log.Error("not mounted", "error", err)
	}
	s.flush() // before others hear of the end, and read the log
	switch {
	case s.state == nil:
	case err == nil, s.mounted == nil:
		s.state.Remove()
	default:
		s.state.State.Phase = state.Ended
		s.state.State.Result = &state.Result{
			Ended: time.Now().UTC(), ExitCode: int(exitcode.Of(err)), Error: err.Error(), Unpublished: left,
		}
		if serr := s.state.Save(); serr != nil {
			s.log.Error("can't write how the mount ended", "error", serr)
		}
		s.state.Release()
	}
	if err != nil && s.mounted != nil && s.plain == io.Discard {
		err = exitcode.Reported(exitcode.Of(err)) // by the log
	}
	return err
}
