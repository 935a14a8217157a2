package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/audit"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// lsOptions are the flags of ls.
type lsOptions struct {
	levels levels
	since  string
	sort   string
	json   bool
	human  bool
}

// lsOrders are by what files can be sorted.
var lsOrders = map[string]func(a, b *audit.File) int{
	"level": func(a, b *audit.File) int { return a.Compare(b.Name) },
	"txid": func(a, b *audit.File) int {
		return cmp.Or(cmp.Compare(a.MaxTXID, b.MaxTXID), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.Level, b.Level))
	},
	"size": func(a, b *audit.File) int { return cmp.Or(cmp.Compare(b.Size, a.Size), a.Compare(b.Name)) },
	"time": func(a, b *audit.File) int { return cmp.Or(a.Time().Compare(b.Time()), a.Compare(b.Name)) },
}

func newLsCommand() *cobra.Command {
	m := settings.New()
	var opts lsOptions
	cmd := &cobra.Command{
		Use:   "ls [flags] REPLICA|DB-PATH",
		Short: "List the files of a replica",
		Long: `List the LTX files of a replica: their level, their TXIDs, their size in bytes, the
time of the last transaction, and how many pages they hold. A snapshot's time is when it
was taken.`,
		Example: `  ltxfs ls s3://backups/orders
  ltxfs ls --level 9 --json /var/backups/orders
  ltxfs ls --since 2026-11-22T22:00:00Z --sort size -h /var/backups/orders`,
		Args: exactArgs("REPLICA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lsOrders[opts.sort] == nil {
				return exitcode.Errorf(exitcode.Usage, "--sort %s: it must be level, txid, size or time", opts.sort)
			}
			var since time.Time
			if opts.since != "" {
				var err error
				if since, err = parseTime("since", opts.since); err != nil {
					return err
				}
			}
			return withReplica(cmd, m, args[0], func(ctx context.Context, r *offline.Replica) error {
				var files []audit.File
				err := r.States.Current(ctx, func(t *database.Timeline) (err error) {
					files, err = audit.Files(ctx, r, t, opts.levels.orAll())
					return err
				})
				if err != nil {
					return err
				}
				files = slices.DeleteFunc(files, func(f audit.File) bool { return f.Time().Before(since) })
				slices.SortStableFunc(files, func(a, b audit.File) int { return lsOrders[opts.sort](&a, &b) })
				if opts.json {
					return printLsJSON(cmd.OutOrStdout(), r, files)
				}
				return printLs(cmd.OutOrStdout(), files, opts.human)
			})
		},
	}
	m.DefineReading(cmd.Flags())
	flags := cmd.Flags()
	flags.Var(&opts.levels, "level", "list these `levels` alone, such as 0,9")
	flags.StringVar(&opts.since, "since", "", "list the files from this `time` on alone")
	flags.StringVar(&opts.sort, "sort", "level", "sort by level, txid, size, the largest first, or time: `how`")
	flags.BoolVar(&opts.json, "json", false, "write JSON")
	flags.BoolVarP(&opts.human, "human-readable", "h", false, "write sizes as 1.5MiB")
	flags.Bool("help", false, "help for ls") // whose -h would be that
	return cmd
}

func printLs(w io.Writer, files []audit.File, human bool) error {
	t := newTable(w)
	t.row("LEVEL", "FROM", "TO", "SIZE", "TIME", "PAGES")
	for i := range files {
		f := &files[i]
		size, pages := fmt.Sprint(f.Size), fmt.Sprint(f.Pages)
		if human {
			size = humanSize(f.Size)
		}
		if f.Err != nil {
			pages = "damaged"
		}
		t.row(fmt.Sprint(f.Level), f.MinTXID.String(), f.MaxTXID.String(), size, database.FormatTime(f.Time()), pages)
	}
	return t.flush()
}

// lsJSON is what ls --json writes. Its fields are documented, and don't change while version
// is 1.
type lsJSON struct {
	Version int          `json:"version"`
	Replica string       `json:"replica"`
	Files   []lsFileJSON `json:"files"`
}

type lsFileJSON struct {
	Level   int       `json:"level"`
	MinTXID string    `json:"min_txid"`
	MaxTXID string    `json:"max_txid"`
	Size    int64     `json:"size"` // bytes
	Time    time.Time `json:"time"`
	Pages   *int      `json:"pages"` // null if the file is damaged
	Error   string    `json:"error,omitempty"`
}

func printLsJSON(w io.Writer, r *offline.Replica, files []audit.File) error {
	out := lsJSON{Version: 1, Replica: r.Name, Files: []lsFileJSON{}}
	for i := range files {
		out.Files = append(out.Files, fileJSON(&files[i]))
	}
	return printJSON(w, out)
}

func fileJSON(f *audit.File) lsFileJSON {
	j := lsFileJSON{Level: f.Level, MinTXID: f.MinTXID.String(), MaxTXID: f.MaxTXID.String(), Size: f.Size, Time: f.Time()}
	if f.Err != nil {
		j.Error = f.Err.Error()
	} else {
		j.Pages = &f.Pages
	}
	return j
}
