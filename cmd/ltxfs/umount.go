package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/holders"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/mountinfo"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
	"github.com/ltxfs/ltxfs/fs/staging"
)

const (
	// defaultEndTimeout is how long umount waits for the end of a mount's
	// process: longer than that may publish.
	defaultEndTimeout = publishTimeout + time.Minute

	// detachPatience is how long the process that serves a mount may take to
	// detach it.
	detachPatience = 5 * time.Second

	// busyPatience is how long umount tries to unmount a busy mount.
	busyPatience = 500 * time.Millisecond

	// maxHolders is how many processes that use a mount are named.
	maxHolders = 5
)

func newUmountCommand() *cobra.Command {
	var u unmounter
	cmd := &cobra.Command{
		Use:     "umount [flags] MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount, and wait until everything is published",
		Long: `Unmount an ltxfs mount and wait for the process that serves it, which first
publishes what is still being published. The exit code is that process's: 0 only
if nothing is left unpublished.

A mount that is in use stays, with an error that names who uses it; --lazy
detaches it all the same. The mount of an ltxfs that has died is taken away.`,
		Example: `  ltxfs umount /mnt/orders
  ltxfs umount --lazy /mnt/orders`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.stderr = cmd.ErrOrStderr()
			return u.run(args[0])
		},
	}
	cmd.Flags().BoolVarP(&u.lazy, "lazy", "l", false, "detach the mount even if programs use it")
	cmd.Flags().DurationVar(&u.timeout, "timeout", defaultEndTimeout, "how long to wait for the end of the process that serves the mount")
	return cmd
}

// unmounter unmounts one mount.
type unmounter struct {
	lazy    bool
	timeout time.Duration
	stderr  io.Writer

	path  string
	watch *state.Watch // nil if there is no state file
	state state.State  // as it was before the mount was unmounted

	mountID int
}

func (u *unmounter) run(mountpoint string) error {
	var err error
	if u.path, err = preflight.Resolve(mountpoint); err != nil {
		return notMounted(mountpoint, err)
	}
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	top, mounted := table.Top(u.path)
	u.mountID = top.ID
	owner := uint32(os.Geteuid())
	if id, ok := top.UserID(); mounted && ok {
		owner = id
	}
	u.watch, err = state.Find(state.Of(owner), u.path)
	switch {
	case err == nil:
		defer u.watch.Close()
		if u.state, err = u.watch.Load(); err != nil {
			u.watch = nil // it has just ended
		}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		fmt.Fprintf(u.stderr, "ltxfs: can't tell how the mount will end: %v\n", err)
	}
	switch {
	case mounted && top.IsLTXFS():
		return u.unmount()
	case mounted:
		return exitcode.Errorf(exitcode.NotMounted, "unmount %s: not an ltxfs mount, but one of type %s (%s): use umount %s",
			u.path, top.Type, top.Source, u.path)
	case u.stillEnding():
		return u.await()
	}
	return notMounted(u.path, nil)
}

func notMounted(path string, err error) error {
	if err != nil {
		return exitcode.Errorf(exitcode.NotMounted, "unmount %s: nothing is mounted there: %w: check the path", path, err)
	}
	hint := "check the path"
	if table, err := mountinfo.Read(); err == nil {
		if m, ok := table.Containing(path); ok && m.IsLTXFS() {
			hint = "did you mean " + m.Path
		}
	}
	return exitcode.Errorf(exitcode.NotMounted, "unmount %s: nothing is mounted there: %s", path, hint)
}

// stillEnding reports whether a process still publishes what was written to a
// mount that is gone.
func (u *unmounter) stillEnding() bool {
	if u.watch == nil {
		return false
	}
	alive, err := u.watch.Alive()
	return err == nil && alive && (u.state.Phase == state.Ending || u.state.Phase == state.Mounted)
}

func (u *unmounter) unmount() error {
	probe := preflight.Probe(u.path)
	if preflight.IsDead(probe) {
		return u.detachDead()
	}
	alive := false
	if u.watch != nil {
		alive, _ = u.watch.Alive()
	}
	var err error
	switch {
	case u.lazy && alive:
		err = u.askToDetach()
	case u.lazy:
		err = preflight.Detach(u.path)
	case errors.Is(probe, preflight.ErrHung):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: the mount gives %w: detach it with ltxfs umount --lazy %s%s",
			u.path, probe, quote(u.path), u.seeLog())
	default:
		err = unmountUnlessBusy(u.path)
	}
	if errors.Is(err, preflight.ErrBusy) {
		return u.busy()
	}
	if err != nil || !alive {
		return err
	}
	return u.await()
}

// unmountUnlessBusy unmounts. It tries for a moment: others, too, look at a new
// mount, such as desktops and ltxfs itself.
func unmountUnlessBusy(path string) error {
	deadline := time.Now().Add(busyPatience)
	for {
		err := preflight.Unmount(path)
		if !errors.Is(err, preflight.ErrBusy) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// askToDetach has the process that serves the mount detach it, and detaches it
// in its stead if it doesn't.
func (u *unmounter) askToDetach() error {
	if err := u.watch.Signal(detachSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for deadline := time.Now().Add(detachPatience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		table, err := mountinfo.Read()
		if err != nil {
			return err
		}
		if top, ok := table.Top(u.path); !ok || top.ID != u.mountID {
			return nil
		}
	}
	fmt.Fprintf(u.stderr, "ltxfs: unmount %s: process %d doesn't answer; detaching the mount without it\n", u.path, u.state.PID)
	return preflight.Detach(u.path)
}

// busy is the error for a mount that is in use.
func (u *unmounter) busy() error {
	var who strings.Builder
	for _, h := range holders.Find(u.path, maxHolders) {
		fmt.Fprintf(&who, "\n  process %s", h)
	}
	if who.Len() == 0 {
		return exitcode.Errorf(exitcode.Busy, "unmount %s: a program uses it: end the program, or detach the mount with ltxfs umount --lazy %s",
			u.path, quote(u.path))
	}
	return exitcode.Errorf(exitcode.Busy, "unmount %s: in use: end these programs, or detach the mount with ltxfs umount --lazy %s%s",
		u.path, quote(u.path), who.String())
}

// detachDead takes away the mount of an ltxfs that has died.
func (u *unmounter) detachDead() error {
	if err := preflight.Detach(u.path); err != nil {
		return err
	}
	fmt.Fprintf(u.stderr, "ltxfs: unmount %s: the ltxfs that served it had died; took the mount away\n", u.path)
	if u.watch == nil || u.state.StagingDir == "" {
		return nil
	}
	return u.reportStaged(u.state.StagingDir)
}

// reportStaged tells what is in the staging directory of a process that died.
func (u *unmounter) reportStaged(dir string) error {
	left, err := staging.List(dir)
	for i := range left {
		left[i].Err = errors.New("the ltxfs that was to publish it died")
	}
	if len(left) > 0 {
		reportUnpublished(u.stderr, nil, unpublishedOf(left), u.path)
	}
	switch {
	case err != nil:
		return exitcode.Errorf(exitcode.Staging, "unmount %s: can't tell what is left unpublished in %s: %w: look there yourself",
			u.path, shown(dir), err)
	case len(left) > 0:
		return exitcode.Reported(exitcode.Unpublished)
	}
	return nil
}

// await waits for the end of the process that serves the mount, and passes on
// how it ended.
func (u *unmounter) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	err := u.watch.Wait(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: process %d has not ended within %s: wait for it%s",
			u.path, u.state.PID, u.timeout, u.seeLog())
	case err != nil:
		return err
	}
	st, err := u.watch.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a mount that ends well removes its state
	case err != nil:
		return err
	case !st.Started.Equal(u.state.Started):
		return nil // so it has, and another mount has come
	case st.Result == nil:
		return exitcode.Errorf(exitcode.Failure, "unmount %s: process %d died before it could say how the mount ended: mount with --rw to see whether something is unpublished%s",
			u.path, st.PID, u.seeLog())
	}
	code := exitcode.Code(st.Result.ExitCode)
	switch {
	case len(st.Result.Unpublished) > 0:
		reportUnpublished(u.stderr, nil, st.Result.Unpublished, u.path)
		return exitcode.Reported(code)
	case code != exitcode.OK:
		return exitcode.Errorf(code, "unmount %s: %s", u.path, st.Result.Error)
	}
	return nil
}

// seeLog is a hint at the log of the process, if it has one.
func (u *unmounter) seeLog() string {
	if u.state.LogFile == "" {
		return ""
	}
	return ", and see its log " + u.state.LogFile
}
