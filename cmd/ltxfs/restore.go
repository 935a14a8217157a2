package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/integrity"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/restore"
	"github.com/ltxfs/ltxfs/internal/settings"
)

func newRestoreCommand() *cobra.Command {
	m := settings.New()
	var which whichState
	var opts restore.Options
	var check string
	cmd := &cobra.Command{
		Use:   "restore [flags] REPLICA|DB-PATH -o FILE",
		Short: "Restore a database to a file",
		Long: `Restore the database of a replica to a file: as it was after the last
transaction, or after the one that --txid or --timestamp says. The file has the
bytes that litestream restore writes.

The file gets its name once all of it is on disk. What is broken off stays beside
it, as FILE.ltxfs-part, and the same command goes on with it.`,
		Example: `  ltxfs restore s3://backups/orders -o orders.db
  ltxfs restore --timestamp 2026-11-22T22:00:00Z s3://backups/orders -o orders.db
  ltxfs restore --config /etc/litestream.yml /var/lib/app/orders.db -o orders.db`,
		Args: exactArgs("REPLICA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Path == "" {
				return exitcode.Errorf(exitcode.Usage, "restore: needs the file to write: give -o FILE: see ltxfs restore --help")
			}
			if err := which.parse(); err != nil {
				return err
			}
			how, err := integrity.Parse(check)
			if err != nil {
				return exitcode.Errorf(exitcode.Usage, "--check %w", err)
			}
			return withReplica(cmd, m, args[0], func(ctx context.Context, r *offline.Replica) error {
				if m.Source.OnDisk() && isWithin(opts.Path, m.Source.Path) {
					return exitcode.Errorf(exitcode.Usage, "restore to %s: it is in the replica, which would be damaged: choose another directory", opts.Path)
				}
				return restoreTo(ctx, cmd, r, &which, opts, how)
			})
		},
	}
	m.DefineReading(cmd.Flags())
	which.define(cmd)
	cmd.Flags().StringVarP(&opts.Path, "output", "o", "", "`file` to write")
	cmd.Flags().BoolVar(&opts.Force, "force", false, "replace the file if it is there")
	cmd.Flags().StringVar(&check, "check", "none", "have SQLite check the file afterwards: none, quick or full: `how`")
	return cmd
}

func restoreTo(ctx context.Context, cmd *cobra.Command, r *offline.Replica, which *whichState, opts restore.Options, check integrity.Check) error {
	began := time.Now()
	s, err := which.find(ctx, r)
	if err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr(), "restore "+opts.Path, s.Size())
	opts.Replica, opts.Progress = r.ID, bar.add
	err = restore.Run(ctx, s, opts)
	bar.end()
	if err != nil {
		return err
	}
	before := ""
	if bar.had > 0 {
		before = fmt.Sprintf(" (%s were there)", humanSize(bar.had))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %s of %s to %s: %s%s in %.1f s\n",
		s.TXID, database.FormatTime(s.Time()), logging.Shown(opts.Path), humanSize(s.Size()), before, time.Since(began).Seconds())
	if err != nil || check == integrity.None {
		return err
	}
	faults, err := check.File(ctx, opts.Path)
	if err != nil {
		return fmt.Errorf("%s check of %s: %w", check, opts.Path, err)
	}
	if len(faults) > 0 {
		return exitcode.Errorf(exitcode.Damaged, "%s check of %s: SQLite finds fault with the database: %s", check, opts.Path, strings.Join(faults, "; "))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "SQLite's %s check finds it sound\n", check)
	return err
}

// isWithin reports whether a file that may not be there yet is below a directory.
func isWithin(path, root string) bool {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if real, rerr := filepath.EvalSymlinks(root); rerr == nil {
		root = real
	}
	rel, rerr := filepath.Rel(root, dir)
	return err == nil && rerr == nil && filepath.IsLocal(rel)
}

// whichState is a state as the flags name it.
type whichState struct {
	txid, timestamp string

	at ltx.TXID
	by time.Time
}

func (w *whichState) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.txid, "txid", "", "the state after this transaction, 16 hexadecimal `digits`")
	cmd.Flags().StringVar(&w.timestamp, "timestamp", "", "the last state at this `time`, such as 2026-11-22T22:00:00Z")
}

// parse parses the flags.
func (w *whichState) parse() (err error) {
	if w.txid != "" && w.timestamp != "" {
		return exitcode.Errorf(exitcode.Usage, "--txid and --timestamp: give one of them")
	}
	if w.txid != "" {
		if w.at, err = ltx.ParseTXID(w.txid); err != nil {
			return exitcode.Errorf(exitcode.Usage, "--txid %s: write 16 hexadecimal digits, as ltxfs ls shows them", w.txid)
		}
	}
	if w.timestamp != "" {
		w.by, err = parseTime("timestamp", w.timestamp)
	}
	return err
}

// find finds the state.
func (w *whichState) find(ctx context.Context, r *offline.Replica) (s *database.State, err error) {
	err = r.States.Current(ctx, func(t *database.Timeline) (err error) {
		i, ok := t.Len()-1, t.Len() > 0
		switch {
		case w.txid != "":
			i, ok = t.Search(w.at)
		case w.timestamp != "":
			i, err = r.States.At(ctx, t, w.by)
			ok = i >= 0
		}
		if err != nil {
			return err
		}
		if !ok {
			return exitcode.Errorf(exitcode.Damaged, "restore of %s: it has no such state that can be restored: ltxfs ls shows its files", r.Name)
		}
		s, err = r.States.State(ctx, t, i)
		return err
	})
	return s, err
}
