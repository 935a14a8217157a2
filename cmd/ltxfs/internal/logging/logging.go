// Package logging makes the logger of a mount, whose lines can be moved from
// standard error to a file once it is known that there will be a mount.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Levels and Formats are what --log-level and --log-format take.
var (
	Levels  = []string{"debug", "info", "warn", "error"}
	Formats = []string{"text", "json"}
)

// New makes a logger that writes to w.
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var min slog.Level
	switch level {
	case "debug":
		min = slog.LevelDebug
	case "info":
		min = slog.LevelInfo
	case "warn":
		min = slog.LevelWarn
	case "error":
		min = slog.LevelError
	default:
		return nil, fmt.Errorf("unknown log level %q: it must be debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: min}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("unknown log format %q: it must be text or json", format)
}

// maxKept is how much a Sink keeps for the file that may come.
const maxKept = 1 << 20

// Sink is where a log goes: first to one writer, and from Switch on to another,
// which gets all that was written before, too.
type Sink struct {
	mu       sync.Mutex
	w        io.Writer
	kept     []byte
	switched bool
}

// NewSink makes a Sink that writes to w at first.
func NewSink(w io.Writer) *Sink { return &Sink{w: w} }

// Write implements io.Writer.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.switched && len(s.kept)+len(p) <= maxKept {
		s.kept = append(s.kept, p...)
	}
	return s.w.Write(p)
}

// Switch has the Sink write to w from now on, beginning with what it has
// written so far.
func (s *Sink) Switch(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := w.Write(s.kept); err != nil {
		return err
	}
	s.w, s.kept, s.switched = w, nil, true
	return nil
}

// OpenFile opens a log file to append to it.
func OpenFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w: name another with --log-file", err)
	}
	return f, nil
}

// Rotate moves a log file that has something in it aside, to PATH.1, so that
// the file doesn't grow from mount to mount and the log of the mount before is
// still there.
func Rotate(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Size() == 0 {
		return nil
	}
	if err := os.Rename(path, path+".1"); err != nil {
		return fmt.Errorf("move the earlier log file aside: %w", err)
	}
	return nil
}
