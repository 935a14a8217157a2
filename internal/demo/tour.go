package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/internal/database"
)

// commandTimeout bounds each command of the tour.
const commandTimeout = 30 * time.Second

// tour is a mounted sample and what there is to see in it.
type tour struct {
	Replica    string // the directory that the sample was extracted to
	Mountpoint string // where it is mounted
	Out        io.Writer

	err error // the first of Out
}

// printf prints, unless Out has failed before.
func (t *tour) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.Out, format, args...)
	}
}

// step is a command of the tour.
type step struct {
	what  string
	argv  []string
	shows []string // what its output must hold
}

// ordersNow and ordersFirst are how many rows the sample's table has in the latest
// state, and in that of the snapshot.
const ordersNow, ordersFirst = "361", "540"

// steps are the commands to try.
func (t *tour) steps() []step {
	files := sampleFiles()
	snapshot := files[len(files)-1] // the highest level comes last
	inMount := filepath.Join(t.Mountpoint, snapshot.InMount)
	inReplica := filepath.Join(t.Replica, snapshot.Path)
	size := fmt.Sprint(len(snapshot.Content))

	var names, dirs []string
	for _, f := range files {
		names = append(names, path.Base(f.InMount))
		if dir := filepath.Join(t.Mountpoint, path.Dir(f.InMount)); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	head := []string{"xxd", "-l", "64", inMount}
	if _, err := exec.LookPath("xxd"); err != nil {
		head = []string{"od", "-A", "d", "-t", "x1z", "-N", "64", inMount}
	}
	latest := filepath.Join(t.Mountpoint, "db", "latest.db")
	earlier := filepath.Join(t.Mountpoint, "db", "time", database.FormatTime(snapshot.ModTime)+".db")
	const query = "SELECT count(*) FROM orders"
	return []step{
		{"Query the database as it is now", []string{"sqlite3", latest, query}, []string{ordersNow}},
		{"List since when it can be queried", []string{"ls", filepath.Dir(earlier)}, []string{filepath.Base(earlier)}},
		{"Query it as it was first", []string{"sqlite3", earlier, query}, []string{ordersFirst}},
		{"Compare the two", []string{"sqldiff", "--summary", earlier, latest}, []string{"orders"}},
		{"Restore it", []string{"cp", latest, filepath.Join(filepath.Dir(t.Replica), "restored.db")}, nil},
		{"List the levels that hold files", append([]string{"ls", "-l"}, dirs...), append(names, size)},
		{"Look at the snapshot", []string{"stat", inMount}, []string{size}},
		{"Read its header: it begins with LTX1", head, []string{"LTX1"}},
		{"Compare it with the file in the replica", []string{"cmp", inMount, inReplica}, nil},
	}
}

// describe prints what is where.
func (t *tour) describe() error {
	files, total := sampleFiles(), 0
	for _, f := range files {
		total += len(f.Content)
	}
	t.printf(`A sample replica of a small database, %d LTX files and %d bytes, is in
  %s
and mounted, read-only, on
  %s

What is where in the mount:
  db/latest.db       the database, as a file that SQLite opens; nothing is restored for that
  db/at, db/time     the same after each transaction, by number and by time
  ltx/0000           the changes, as they came: one file for one transaction
  ltx/0001 … 0008    the same changes, compacted: one file for many transactions
  ltx/0009           snapshots of the whole database, also at snapshots
A file is named for the first and the last transaction in it.

`, len(files), total, t.Replica, t.Mountpoint)
	return t.err
}

// suggest prints commands to try.
func (t *tour) suggest() {
	t.printf("To try, in another terminal:\n")
	for _, s := range t.steps() {
		if s.argv[0] != "stat" { // the list shows as much
			t.printf("  %s\n", strings.Join(s.argv, " "))
		}
	}
}

// run runs the commands, prints what they print, and checks all results.
func (t *tour) run(ctx context.Context) error {
	for _, s := range t.steps() {
		if err := t.runStep(ctx, s); err != nil {
			return err
		}
	}
	return t.check()
}

func (t *tour) runStep(ctx context.Context, s step) error {
	program, err := exec.LookPath(s.argv[0])
	if err != nil {
		t.printf("%s: %s is not installed\n\n", s.what, s.argv[0])
		return t.err
	}
	t.printf("%s:\n$ %s\n", s.what, strings.Join(s.argv, " "))
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, s.argv[1:]...)
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	t.printf("%s\n", output)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(s.argv, " "), errors.Join(err, context.Cause(ctx)))
	}
	for _, want := range s.shows {
		if !strings.Contains(string(output), want) {
			return fmt.Errorf("%s: its output doesn't hold %q", strings.Join(s.argv, " "), want)
		}
	}
	return t.err
}
