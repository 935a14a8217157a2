package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/service"
	"github.com/ltxfs/ltxfs/internal/service/daemon"
	"github.com/ltxfs/ltxfs/internal/service/state"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// stopTimeout is how long the demo's mount may take to end.
const stopTimeout = 30 * time.Second

// Options are how the demo is run.
type Options struct {
	// Unattended runs the commands, checks their results, and ends.
	Unattended bool

	Stdin  io.Reader
	Stdout io.Writer
}

// Run mounts the sample in a temporary directory and shows what is in it until the
// user has seen enough. Nothing stays.
func Run(opts Options) (err error) {
	// Whoever stops reading must not keep the demo from clearing up.
	signal.Ignore(unix.SIGPIPE)
	defer signal.Reset(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()

	dir, err := os.MkdirTemp("", "ltxfs-demo-")
	if err != nil {
		return fmt.Errorf("demo: make a temporary directory: %w", err)
	}
	if resolved, rerr := filepath.EvalSymlinks(dir); rerr == nil {
		dir = resolved
	}
	t := &tour{Replica: filepath.Join(dir, "replica"), Mountpoint: filepath.Join(dir, "mnt"), Out: opts.Stdout}
	defer func() { err = errors.Join(err, remove(dir, t.Mountpoint)) }()
	if err := errors.Join(extract(t.Replica), os.Mkdir(t.Mountpoint, 0o755)); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	p, err := t.mount(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount(p, opts.Stdout)) }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-p.Done()
		cancel(errEnded)
	}()
	err = t.describe()
	switch {
	case err == nil && opts.Unattended:
		err = t.run(ctx)
	case err == nil:
		err = t.wait(ctx, opts.Stdin)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

var errEnded = errors.New("the mount has ended")

// mount mounts the sample in another process.
func (t *tour) mount(ctx context.Context, dir string) (*daemon.Process, error) {
	p, err := daemon.Start(ctx, daemon.Options{
		Args: []string{"mount", "--log-level=warn", "--log-file=" + filepath.Join(dir, "log"), "--grace=0s",
			"--", t.Replica, t.Mountpoint},
		// The user's own settings and mounts are none of the demo's.
		Env:           append(settings.ClearEnv(), state.PathEnv+"="+filepath.Join(dir, "state")),
		Stderr:        os.Stderr,
		Timeout:       service.StartTimeout,
		EndWithParent: true,
	})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return p, nil
}

// wait suggests what to try, and waits for Enter on a terminal, or for a signal.
func (t *tour) wait(ctx context.Context, stdin io.Reader) error {
	entered := make(chan struct{})
	how := "Ctrl-C"
	if logging.IsTerminal(stdin) {
		how = "Enter or Ctrl-C"
		go func() {
			if _, err := bufio.NewReader(stdin).ReadString('\n'); err == nil {
				close(entered)
			}
		}()
	}
	t.suggest()
	if t.printf("\n%s unmounts it and removes everything.\n", how); t.err != nil {
		return t.err
	}
	select {
	case <-entered:
	case <-ctx.Done():
		if context.Cause(ctx) == errEnded {
			t.printf("The mount has ended.")
		}
		t.printf("\n")
	}
	return nil
}

func unmount(p *daemon.Process, stdout io.Writer) error {
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

// remove removes the temporary directory, but never through a mount that is still
// there.
func remove(dir, mountpoint string) error {
	table, err := mounts.Read()
	if err == nil && table.Top(mountpoint) != nil {
		err = mounts.Detach(mountpoint)
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("demo: %s stays: %w", dir, err)
	}
	return nil
}
