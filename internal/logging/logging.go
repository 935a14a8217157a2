// Package logging makes the logger of a mount, and the queues that keep a log that
// nobody reads from holding anything up.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Levels and Formats are what --log-level and --log-format take, apart from "auto".
var (
	Levels  = []string{"debug", "info", "warn", "error"}
	Formats = []string{"text", "json"}
)

// ParseLevel returns the level that --log-level gives.
func ParseLevel(level string) (least slog.Level, err error) {
	if !slices.Contains(Levels, level) || least.UnmarshalText([]byte(level)) != nil {
		return 0, fmt.Errorf("unknown log level %q: it must be debug, info, warn or error", level)
	}
	return least, nil
}

// New makes a logger that writes to w what is at least of a level. With a slog.LevelVar,
// the level can change meanwhile, for loggers made from this one as well.
func New(w io.Writer, least slog.Leveler, format string) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case Journal:
		opts.ReplaceAttr = readable
		fallthrough
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("unknown log format %q: it must be text or json", format)
}

// OpenFile opens a log file to append to it. With rotate, it moves a file that has
// something in it aside before, to PATH.1, so that the file doesn't grow from mount to
// mount and the log of the mount before is still there.
func OpenFile(path string, rotate bool) (*os.File, error) {
	if info, err := os.Lstat(path); rotate && err == nil && info.Size() > 0 {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("move the earlier log file aside: %w", err)
		}
	}
	// A pipe that nobody reads is an error, and not waited for.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w: name another with --log-file", err)
	}
	return f, nil
}
