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
)

// commandTimeout bounds each command of the tour.
const commandTimeout = 30 * time.Second

// Tour is a mounted sample and what there is to see in it.
type Tour struct {
	Replica    string // the directory that the sample was extracted to
	Mountpoint string // where it is mounted
	Out        io.Writer
}

// step is a command of the tour.
type step struct {
	what  string
	argv  []string
	shows []string // what its output must hold
}

// steps are the commands to try. The first of alternatives that is installed is
// taken.
func (t *Tour) steps() ([]step, error) {
	files, err := Files()
	if err != nil {
		return nil, err
	}
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
	list := step{"List the levels that hold files", append([]string{"ls", "-l"}, dirs...), append(names, size)}
	stat := step{"Look at the snapshot", []string{"stat", inMount}, []string{size}}
	head := step{"Read its header: it begins with LTX1", []string{"xxd", "-l", "64", inMount}, []string{"LTX1"}}
	if _, err := exec.LookPath("xxd"); err != nil {
		head.argv = []string{"od", "-A", "d", "-t", "x1z", "-N", "64", inMount}
	}
	compare := step{"Compare it with the file in the replica", []string{"cmp", inMount, inReplica}, nil}
	return []step{list, stat, head, compare}, nil
}

// Describe prints what is where.
func (t *Tour) Describe() error {
	files, err := Files()
	if err != nil {
		return err
	}
	total := 0
	for _, f := range files {
		total += len(f.Content)
	}
	_, err = fmt.Fprintf(t.Out, `A sample replica of a small database, %d LTX files and %d bytes, is in
  %s
and mounted, read-only, on
  %s

What is where in the mount:
  ltx/0000           the changes, as they came: one file for one transaction
  ltx/0001 … 0008    the same changes, compacted: one file for many transactions
  ltx/0009           snapshots of the whole database, also at snapshots
A file is named for the first and the last transaction in it.

`, len(files), total, t.Replica, t.Mountpoint)
	return err
}

// Suggest prints commands to try.
func (t *Tour) Suggest() error {
	steps, err := t.steps()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(t.Out, "To try, in another terminal:"); err != nil {
		return err
	}
	for _, s := range []step{steps[0], steps[2], steps[3]} {
		if _, err := fmt.Fprintf(t.Out, "  %s\n", strings.Join(s.argv, " ")); err != nil {
			return err
		}
	}
	return nil
}

// Run runs the commands, prints what they print, and checks all results.
func (t *Tour) Run(ctx context.Context) error {
	steps, err := t.steps()
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := t.runStep(ctx, s); err != nil {
			return err
		}
	}
	return t.check()
}

func (t *Tour) runStep(ctx context.Context, s step) error {
	program, err := exec.LookPath(s.argv[0])
	if err != nil {
		_, err := fmt.Fprintf(t.Out, "%s: %s is not installed\n\n", s.what, s.argv[0])
		return err
	}
	if _, err := fmt.Fprintf(t.Out, "%s:\n$ %s\n", s.what, strings.Join(s.argv, " ")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, s.argv[1:]...)
	cmd.WaitDelay = time.Second
	output, runErr := cmd.CombinedOutput()
	if _, err := fmt.Fprintf(t.Out, "%s\n", output); err != nil {
		return err
	}
	if runErr != nil {
		return fmt.Errorf("%s: %w", strings.Join(s.argv, " "), errors.Join(runErr, context.Cause(ctx)))
	}
	for _, want := range s.shows {
		if !strings.Contains(string(output), want) {
			return fmt.Errorf("%s: its output doesn't hold %q", strings.Join(s.argv, " "), want)
		}
	}
	return nil
}
