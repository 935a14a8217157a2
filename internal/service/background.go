package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/service/daemon"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// StartTimeout is how long a process in the background may take to mount.
const StartTimeout = 60 * time.Second

// Start mounts in the background and returns once that is done. A signal ends it.
func Start(cfg *settings.Mount) (*daemon.Process, error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	p, err := daemon.Start(ctx, daemon.Options{Args: cfg.Args(), Env: settings.ClearEnv(), Stderr: os.Stderr, Timeout: StartTimeout})
	if err == nil || exitcode.IsReported(err) {
		return p, err
	}
	// One that was killed may have left something.
	return nil, fmt.Errorf("mount on %s: %w", cfg.Mountpoint, errors.Join(err, mounts.DetachIfDead(cfg.Mountpoint)))
}
