package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/audit"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/integrity"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	audit.Options
	since, subset, check, states string
	levels                       levels

	json    bool
	metrics string
}

func newVerifyCommand() *cobra.Command {
	m := settings.New()
	var opts verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [flags] REPLICA|DB-PATH",
		Short: "Find out whether a replica can be restored, and to when",
		Long: `Find out whether a replica is sound, stage by stage: the names of its files, their
headers and trailers, their page indexes, all of their bytes, and, with --check,
whether SQLite finds the databases sound that they make. What is found is shown
with the states that it costs, as litestream restore would restore them.

It ends with 0 if the replica is sound, 13 if it is damaged or can't be restored,
and 14 if something couldn't be read, so that a question stayed open.`,
		Example: `  ltxfs verify s3://backups/orders
  ltxfs verify --check full /var/backups/orders
  ltxfs verify --quick --json --metrics-file /var/lib/node_exporter/orders.prom s3://backups/orders
  ltxfs verify --read-data-subset 1/7 s3://backups/orders`,
		Args: exactArgs("REPLICA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.parse(cmd); err != nil {
				return err
			}
			v := &verifyRun{opts: &opts, w: cmd.OutOrStdout(), began: time.Now()}
			err := withReplica(cmd, m, args[0], func(ctx context.Context, r *offline.Replica) error {
				v.name = r.Name
				if m.Source.OnDisk() && opts.metrics != "" && isWithin(opts.metrics, m.Source.Path) {
					return exitcode.Errorf(exitcode.Usage, "--metrics-file %s: it is in the replica, which would be damaged: choose another directory", opts.metrics)
				}
				bar := newProgress(cmd.ErrOrStderr(), "verify "+r.Name, 0)
				opts.Found = func(f *audit.Finding) {
					bar.end()
					v.found(f)
				}
				opts.Begin = bar.begin
				opts.Done = bar.file
				report, err := audit.Verify(ctx, r, opts.Options)
				bar.end()
				v.report = report
				return err
			})
			if v.name == "" { // it couldn't be opened
				v.name = m.Source.Name()
			}
			return v.end(err)
		},
	}
	m.DefineReading(cmd.Flags())
	flags := cmd.Flags()
	flags.Var(&opts.levels, "level", "read files of these `levels` alone, such as 0,9")
	flags.StringVar(&opts.since, "since", "", "read files that the store has since this `time` alone")
	flags.BoolVar(&opts.Quick, "quick", false, "read no more of a file than its header, page index and trailer")
	flags.StringVar(&opts.subset, "read-data-subset", "", "read all bytes of a `part` of the files: 1/7 is the first of seven, 10% and 5GiB so many at random")
	flags.StringVar(&opts.check, "check", "none", "have SQLite check databases: none, quick or full: `how`")
	flags.StringVar(&opts.states, "states", "1", "check the databases of so many of the newest states, or of all: `N`")
	flags.BoolVar(&opts.json, "json", false, "write JSON, one finding a line, and a summary")
	flags.StringVar(&opts.metrics, "metrics-file", "", "write metrics to a `file` that Prometheus' node exporter reads")
	return cmd
}

func (o *verifyOptions) parse(cmd *cobra.Command) (err error) {
	if o.since != "" {
		if o.Since, err = parseTime("since", o.since); err != nil {
			return err
		}
	}
	if o.subset != "" {
		if o.Quick {
			return exitcode.Errorf(exitcode.Usage, "--quick and --read-data-subset: give one of them")
		}
		if o.Subset, err = audit.ParseSubset(o.subset); err != nil {
			return exitcode.Errorf(exitcode.Usage, "--read-data-subset %w", err)
		}
	}
	if o.Check, err = integrity.Parse(o.check); err != nil {
		return exitcode.Errorf(exitcode.Usage, "--check %w", err)
	}
	if o.Options.States = -1; o.states != "all" {
		n, err := strconv.Atoi(o.states)
		if err != nil || n < 1 {
			return exitcode.Errorf(exitcode.Usage, "--states %s: write a number from 1 on, or all", o.states)
		}
		o.Options.States = n
	}
	if o.Check == integrity.None && cmd.Flags().Changed("states") {
		return exitcode.Errorf(exitcode.Usage, "--states: say how they are checked, with --check quick or --check full")
	}
	o.Levels = o.levels.orAll()
	if st, err := os.Lstat(o.metrics); err == nil && !st.Mode().IsRegular() {
		return exitcode.Errorf(exitcode.Usage, "--metrics-file %s: it is no regular file, and would be replaced: choose another name", o.metrics)
	}
	if st, err := os.Stat(filepath.Dir(o.metrics)); err != nil || !st.IsDir() {
		return exitcode.Errorf(exitcode.Usage, "--metrics-file %s: its directory isn't there: make it", o.metrics)
	}
	return nil
}

// verifyRun is a verification, and what it tells.
type verifyRun struct {
	opts   *verifyOptions
	w      io.Writer
	name   string
	began  time.Time
	report *audit.Report // nil if the replica couldn't be opened
	failed error         // of writing
}

func (v *verifyRun) note(err error) { v.failed = cmp.Or(v.failed, err) }

func (v *verifyRun) found(f *audit.Finding) {
	f.Detail = settings.Scrub(f.Detail, os.Args)
	if v.opts.json {
		v.note(printLine(v.w, findingOf(f)))
		return
	}
	_, err := fmt.Fprintf(v.w, "%s: %s: %s\n", f.Severity, f.Code, logging.Shown(where(f)))
	v.note(err)
	for _, line := range []string{f.Meaning(), f.Advice} {
		if line != "" {
			fmt.Fprintf(v.w, "    %s\n", line)
		}
	}
}

func where(f *audit.Finding) string {
	if f.File == "" {
		return f.Detail
	}
	return f.File + ": " + f.Detail
}

// end writes the summary, and returns the error that the command ends with.
func (v *verifyRun) end(err error) error {
	if v.report == nil && (v.name == "" || exitcode.Of(err) == exitcode.Usage) {
		return err // what was asked for is wrong
	}
	if v.report == nil && replicas.IsMissing(err) {
		if v.opts.metrics != "" { // the replica may have been there before
			err = errors.Join(err, v.summary(exitcode.Of(err), err).writeMetrics(v.opts.metrics))
		}
		return err
	}
	code := exitcode.OK
	switch {
	case v.report != nil && v.report.Findings[audit.Damage] > 0:
		code = exitcode.Damaged
	case err != nil || v.report.Findings[audit.Open] > 0:
		code = exitcode.Undetermined
	}
	s := v.summary(code, err)
	if v.opts.json {
		v.note(printLine(v.w, s))
	} else {
		v.note(s.print(v.w))
	}
	if v.opts.metrics != "" {
		v.note(s.writeMetrics(v.opts.metrics))
	}
	switch {
	case v.failed != nil && code == exitcode.OK:
		return v.failed
	case v.failed != nil:
		return exitcode.Errorf(code, "verify of %s: %v", v.name, errors.Join(err, v.failed))
	case code == exitcode.OK:
		return nil
	case err != nil:
		return exitcode.Errorf(code, "verify of %s: %v", v.name, err)
	}
	return exitcode.Reported(code)
}
