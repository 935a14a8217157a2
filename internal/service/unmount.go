package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/holders"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/service/state"
)

const (
	// EndTimeout is how long to wait for the end of a mount's process, unless the
	// user says otherwise: longer than that may publish.
	EndTimeout = publishTimeout + time.Minute

	// busyPatience is how long a busy mount is tried: others, too, look at a new
	// mount, such as desktops and ltxfs itself.
	busyPatience = 500 * time.Millisecond

	// maxHolders is how many processes that use a mount are named.
	maxHolders = 5
)

// Unmounting is how a mount is to be unmounted.
type Unmounting struct {
	Lazy    bool          // even if programs use it
	Timeout time.Duration // of the wait for the end of its process
	Stderr  io.Writer     // gets what isn't the error

	path  string       // of the mount, absolute and without links
	watch *state.Watch // of its process, nil if there is no state file
}

// Unmount unmounts what is mounted at a path and waits for the end of the process
// that serves it, whose error it returns.
func (u *Unmounting) Unmount(mountpoint string) error {
	var err error
	if u.path, err = mounts.Resolve(mountpoint); err != nil {
		return exitcode.Errorf(exitcode.NotMounted, "unmount %s: nothing is mounted there: %w: check the path", mountpoint, err)
	}
	table, err := mounts.Read()
	if err != nil {
		return err
	}
	top := table.Top(u.path)
	u.watch, err = findState(top, u.path)
	if err == nil {
		defer u.watch.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(u.Stderr, "ltxfs: can't tell how the mount will end: %v\n", err)
	}
	switch {
	case mounts.IsLTXFS(top):
		return u.unmount()
	case top != nil:
		return exitcode.Errorf(exitcode.NotMounted, "unmount %s: not an ltxfs mount, but one of type %s (%s): use umount %s",
			u.path, top.FSType, top.Source, u.path)
	case u.publishes():
		return u.await()
	}
	hint := "check the path"
	if m := table.Containing(u.path); mounts.IsLTXFS(m) {
		hint = "did you mean " + m.Mountpoint
	}
	return exitcode.Errorf(exitcode.NotMounted, "unmount %s: nothing is mounted there: %s", u.path, hint)
}

// publishes reports whether a process still publishes what was written to a
// mount that is gone.
func (u *Unmounting) publishes() bool {
	return u.watch.Alive() && (u.watch.State.Phase == state.Ending || u.watch.State.Phase == state.Mounted)
}

func (u *Unmounting) unmount() error {
	probe := mounts.Probe(u.path)
	if mounts.IsDead(probe) {
		return u.detachDead()
	}
	alive := u.watch.Alive()
	var err error
	switch {
	case u.Lazy:
		if err = mounts.Detach(u.path); err == nil && alive {
			err = u.watch.Signal(detachSignal) // or it would serve those who still use the mount
		}
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
	case errors.Is(probe, mounts.ErrHung):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: the mount gives %w: detach it with ltxfs umount --lazy %s%s",
			u.path, probe, quote(u.path), u.seeLog())
	default:
		err = mounts.Unmount(u.path)
		for deadline := time.Now().Add(busyPatience); errors.Is(err, mounts.ErrBusy) && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
			err = mounts.Unmount(u.path)
		}
	}
	switch {
	case errors.Is(err, mounts.ErrBusy):
		return u.busy()
	case err != nil, !alive:
		return err
	}
	return u.await()
}

// busy is the error for a mount that is in use.
func (u *Unmounting) busy() error {
	var who strings.Builder
	for _, h := range holders.Find(u.path, maxHolders) {
		fmt.Fprintf(&who, "\n  process %s", h)
	}
	what := "in use: end these programs"
	if who.Len() == 0 {
		what = "a program uses it: end the program"
	}
	return exitcode.Errorf(exitcode.Busy, "unmount %s: %s, or detach the mount with ltxfs umount --lazy %s%s", u.path, what, quote(u.path), &who)
}

// detachDead takes away the mount of an ltxfs that has died.
func (u *Unmounting) detachDead() error {
	if err := mounts.Detach(u.path); err != nil {
		return err
	}
	fmt.Fprintf(u.Stderr, "ltxfs: unmount %s: the ltxfs that served it had died; took the mount away\n", u.path)
	if u.watch == nil || u.watch.State.StagingDir == "" {
		return nil
	}
	return u.reportStaged(u.watch.State.StagingDir)
}

// reportStaged tells what is in the staging directory of a process that died.
func (u *Unmounting) reportStaged(dir string) error {
	left, err := staging.List(dir)
	for i := range left {
		left[i].Err = errors.New("the ltxfs that was to publish it died")
	}
	if len(left) > 0 {
		u.report(unpublishedOf(left))
	}
	switch {
	case err != nil:
		return exitcode.Errorf(exitcode.Staging, "unmount %s: can't tell what is left unpublished in %s: %w: look there yourself",
			u.path, logging.Shown(dir), err)
	case len(left) > 0:
		return exitcode.Reported(exitcode.Unpublished)
	}
	return nil
}

func (u *Unmounting) report(left []state.Unpublished) {
	reportUnpublished(u.Stderr, slog.New(slog.DiscardHandler), left, u.path)
}

// await waits for the end of the process that serves the mount, and passes on
// how it ended.
func (u *Unmounting) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), u.Timeout)
	defer cancel()
	err := u.watch.Wait(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: process %d has not ended within %s: wait for it%s",
			u.path, u.watch.State.PID, u.Timeout, u.seeLog())
	case err != nil:
		return err
	}
	st, err := u.watch.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a mount that ends well removes its state
	case err != nil:
		return err
	case !st.Started.Equal(u.watch.State.Started):
		return nil // so it has, and another mount has come
	case st.Result == nil:
		return exitcode.Errorf(exitcode.Failure, "unmount %s: process %d died before it could say how the mount ended: mount with --rw to see whether something is unpublished%s",
			u.path, st.PID, u.seeLog())
	}
	code := exitcode.Code(st.Result.ExitCode)
	switch {
	case len(st.Result.Unpublished) > 0:
		u.report(st.Result.Unpublished)
		return exitcode.Reported(code)
	case code != exitcode.OK:
		return exitcode.Errorf(code, "unmount %s: %s", u.path, st.Result.Error)
	}
	return nil
}

// seeLog is a hint at the log of the process, if it has one.
func (u *Unmounting) seeLog() string {
	if u.watch == nil || u.watch.State.LogFile == "" {
		return ""
	}
	return ", and see its log " + u.watch.State.LogFile
}
