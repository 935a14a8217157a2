// Package logging makes the logger of a mount, whose lines can be moved from
// standard error to a file once it is known that there will be a mount.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
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
