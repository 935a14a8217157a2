package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/daemon"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/demo"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/mountinfo"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
)

// stopTimeout is how long the demo's mount may take to end.
const stopTimeout = 30 * time.Second

func newDemoCommand() *cobra.Command {
	unattended := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Mount a sample replica and show what is in it",
		Long: `Mount a small sample replica, which comes with ltxfs, in a temporary directory,
and show what is where and what to try. Enter or Ctrl-C ends it; nothing stays.`,
		Example: `  ltxfs demo
  ltxfs demo --unattended`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), unattended)
		},
	}
	cmd.Flags().BoolVar(&unattended, "unattended", false, "run the commands, check their results, and end")
	return cmd
}

func runDemo(stdin io.Reader, stdout, stderr io.Writer, unattended bool) (err error) {
	// Whoever stops reading must not keep the demo from clearing up.
	signal.Ignore(unix.SIGPIPE)
	defer signal.Reset(unix.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)

	dir, err := os.MkdirTemp("", "ltxfs-demo-")
	if err != nil {
		return fmt.Errorf("demo: make a temporary directory: %w", err)
	}
	if resolved, rerr := filepath.EvalSymlinks(dir); rerr == nil {
		dir = resolved
	}
	defer func() { err = errors.Join(err, removeDemo(dir)) }()
	tour := &demo.Tour{Replica: filepath.Join(dir, "replica"), Mountpoint: filepath.Join(dir, "mnt"), Out: stdout}
	if err := errors.Join(demo.Extract(tour.Replica), os.Mkdir(tour.Mountpoint, 0o755)); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	p, err := startDemo(dir, tour, stderr, signals)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopDemo(p, stdout)) }()

	if err := tour.Describe(); err != nil {
		return err
	}
	if unattended {
		return runTour(tour, p, signals)
	}
	if err := tour.Suggest(); err != nil {
		return err
	}
	return waitForUser(stdin, stdout, p, signals)
}

// startDemo mounts the sample in another process.
func startDemo(dir string, tour *demo.Tour, stderr io.Writer, signals <-chan os.Signal) (*daemon.Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: find the program: %w", err)
	}
	env := []string{state.PathEnv + "=" + filepath.Join(dir, "state")}
	for _, variable := range mountEnv() {
		env = append(env, variable+"=") // the user's own mounts are none of the demo's
	}
	p, err := daemon.Start(daemon.Options{
		Program: program,
		Args: []string{"mount", "--log-level=warn", "--log-file=" + filepath.Join(dir, "log"), "--grace=0s",
			"--", tour.Replica, tour.Mountpoint},
		Env:           env,
		Stderr:        stderr,
		Timeout:       daemonTimeout,
		Interrupt:     signals,
		EndWithParent: true,
	})
	var exit *daemon.ExitError
	switch {
	case errors.As(err, &exit) && exit.Code != 0:
		return nil, exitcode.Reported(exitcode.Code(exit.Code))
	case err != nil:
		return nil, fmt.Errorf("demo: %w", err)
	}
	return p, nil
}

// runTour runs the tour until it is through, or until a signal or the end of
// the mount cuts it short.
func runTour(tour *demo.Tour, p *daemon.Process, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case sig := <-signals:
			cancel(fmt.Errorf("interrupted by the signal %v", sig))
		case <-p.Done():
			cancel(errors.New("the mount has ended"))
		case <-ctx.Done():
		}
	}()
	if err := tour.Run(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// waitForUser waits for Enter on a terminal, or for a signal.
func waitForUser(stdin io.Reader, stdout io.Writer, p *daemon.Process, signals <-chan os.Signal) error {
	entered := make(chan struct{})
	how := "Ctrl-C"
	if f, ok := stdin.(*os.File); ok && isTerminal(f) {
		how = "Enter or Ctrl-C"
		go func() {
			for b := make([]byte, 1); ; {
				n, err := f.Read(b)
				if err != nil {
					return
				}
				if n == 1 && b[0] == '\n' {
					close(entered)
					return
				}
			}
		}()
	}
	if _, err := fmt.Fprintf(stdout, "\n%s unmounts it and removes everything.\n", how); err != nil {
		return err
	}
	select {
	case <-entered:
	case <-signals:
		fmt.Fprintln(stdout)
	case <-p.Done():
		fmt.Fprintln(stdout, "The mount has ended.")
	}
	return nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// stopDemo unmounts.
func stopDemo(p *daemon.Process, stdout io.Writer) error {
	code, err := p.Stop(stopTimeout)
	switch {
	case err != nil:
		return fmt.Errorf("demo: unmount: %w", err)
	case code != 0:
		return exitcode.Errorf(exitcode.Code(code), "demo: unmount: the process that served the mount ended with exit code %d", code)
	}
	fmt.Fprintln(stdout, "Unmounted.")
	return nil
}

// removeDemo removes the temporary directory, but never through a mount that is
// still there.
func removeDemo(dir string) error {
	table, err := mountinfo.Read()
	if err != nil {
		return fmt.Errorf("demo: %s stays: %w", dir, err)
	}
	for _, m := range table.Below(dir) {
		if err := preflight.Detach(m.Path); err != nil {
			return fmt.Errorf("demo: %s stays: %w", dir, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("demo: remove the temporary directory: %w", err)
	}
	return nil
}
