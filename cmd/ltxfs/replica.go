package main

import (
	"context"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// withReplica calls use with the replica that an argument names, until a signal comes.
func withReplica(cmd *cobra.Command, m *settings.Mount, arg string, use func(context.Context, *offline.Replica) error) error {
	if err := m.Parse(cmd.Flags(), arg, "", os.LookupEnv); err != nil {
		return err
	}
	log, err := logging.New(cmd.ErrOrStderr(), "warn", "text")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	r, err := offline.Open(ctx, m, log)
	if err != nil {
		return err
	}
	err = offline.Failed(use(ctx, r))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// parseTime parses the time that a flag was given.
func parseTime(flag, text string) (time.Time, error) {
	at, ok := database.ParseTime(text)
	if !ok {
		return at, exitcode.Errorf(exitcode.Usage, "--%s %s: write a time such as 2026-11-22T22:00:00Z", flag, text)
	}
	return at, nil
}
