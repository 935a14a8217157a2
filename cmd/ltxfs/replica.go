package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/audit"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
)

// heapLimit is where Go begins to collect garbage harder, in bytes. With the program itself,
// what is on the heap is to be within the 64 MiB beside the budget, which has the blocks.
const heapLimit = 36 << 20

// withReplica calls use with the replica that an argument names, until a signal comes.
func withReplica(cmd *cobra.Command, m *settings.Mount, arg string, use func(context.Context, *offline.Replica) error) error {
	var empty error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.String() == "" && f.Value.Type() == "string" { // as by a variable that isn't set
			empty = exitcode.Errorf(exitcode.Usage, "--%s: it is empty: give a value, or leave it out", f.Name)
		}
	})
	if empty != nil {
		return empty
	}
	if err := m.Parse(cmd.Flags(), arg, "", os.LookupEnv); err != nil {
		return err
	}
	limitHeap := func(more int64) { debug.SetMemoryLimit(heapLimit + more) }
	limitHeap(0)
	log, err := logging.New(cmd.ErrOrStderr(), slog.LevelWarn, "text")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	r, err := offline.Open(ctx, m, limitHeap, log)
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

// levels are what the flag --level gives: 0,9 or one at a time. Without it, they are all.
type levels []int

func (l *levels) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		level, err := strconv.Atoi(part)
		if err != nil || level < 0 || level > replica.MaxLevel {
			return fmt.Errorf("levels are 0 to %d", replica.MaxLevel)
		}
		if !slices.Contains(*l, level) {
			*l = append(*l, level)
		}
	}
	return nil
}

func (l *levels) String() string { return "" } // the default, all, isn't shown

func (l *levels) Type() string { return "levels" }

// orAll are the levels, or all if none were given.
func (l *levels) orAll() []int {
	if len(*l) == 0 {
		return audit.AllLevels()
	}
	return *l
}
