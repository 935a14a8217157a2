package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
)

const (
	// detachSignal ends a mount like SIGTERM, without a grace period. ltxfs
	// umount --lazy sends it.
	detachSignal = unix.SIGUSR1

	// publishTimeout is how long what is being published at the end may take.
	publishTimeout = 5 * time.Minute

	// retryEvery is how often a busy mount is tried again.
	retryEvery = 100 * time.Millisecond

	// signalsApart is how far apart two signals are at least. Programs such
	// as timeout(1) send one to the process and once more to its group.
	signalsApart = time.Second

	// goneTimeout is how long the kernel may take to let go of a mount that
	// it has unmounted.
	goneTimeout = 10 * time.Second
)

// servedMount is what an ending needs of a mount.
type servedMount interface {
	Done() <-chan struct{}
	Unmount() error
	Detach() error
	Drain(ctx context.Context) error
}

// ending sees a mount to its end.
type ending struct {
	mount   servedMount
	log     *slog.Logger
	signals <-chan os.Signal

	grace time.Duration // for programs that use the mount
	drain time.Duration // for what is being published
	onTop func() bool   // whether unmounting would unmount this mount
	begun func()        // called when the end begins

	lastSignal time.Time
}

// wait returns when the mount is gone and nothing is being published, or when
// no more can be done about it.
func (e *ending) wait() error {
	select {
	case <-e.mount.Done():
		e.log.Info("the mount has been unmounted")
		e.begun()
		e.publish(1)
		return nil
	case sig := <-e.signals:
		e.lastSignal = time.Now()
		grace := e.grace
		if sig == detachSignal {
			e.log.Info("unmounting, as ltxfs umount --lazy asks for it")
			grace = 0
		} else {
			e.log.Info("unmounting", "signal", fmt.Sprint(sig))
		}
		e.begun()
		hurry, err := e.unmount(grace)
		if hurry {
			e.publish(-1)
		} else {
			e.publish(0)
		}
		return err
	}
}

// unmount unmounts as soon as nobody uses the mount, and detaches it when the
// grace period is over or a second signal arrives. hurry tells of such a
// signal.
func (e *ending) unmount(grace time.Duration) (hurry bool, err error) {
	graceOver := time.NewTimer(grace)
	defer graceOver.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	told := false
	for {
		err := e.tryUnmount()
		if err == nil {
			return false, nil
		}
		if !told {
			told = true
			e.log.Info("the mount can't be unmounted yet", "error", err, "detaching_in", grace)
		}
		select {
		case <-e.mount.Done():
			return false, nil
		case <-retry.C:
		case sig := <-e.signals:
			if sig == detachSignal {
				return false, e.detach()
			}
			if e.isAnother() {
				return true, e.detach()
			}
		case <-graceOver.C:
			return false, e.detach()
		}
	}
}

// tryUnmount tries once.
func (e *ending) tryUnmount() error {
	select {
	case <-e.mount.Done():
		return nil // and what is mounted there now isn't ours
	default:
	}
	if !e.onTop() {
		return errors.New("another file system is mounted over it")
	}
	if err := e.mount.Unmount(); err != nil {
		return err
	}
	select {
	case <-e.mount.Done():
	case <-time.After(goneTimeout):
		e.log.Warn("the kernel hasn't let go of the mount", "after", goneTimeout)
	}
	return nil
}

// detach takes the mount away from those who use it.
func (e *ending) detach() error {
	if !e.onTop() {
		return exitcode.Errorf(exitcode.Busy, "unmount: another file system is mounted over the mount: unmount that first")
	}
	if err := e.mount.Detach(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	e.log.Warn("detached the mount from programs that still use it")
	return nil
}

// publish waits for what is being published, until that takes too long or one
// more signal arrives than are to be passed over; with -1 it waits for nothing.
// What doesn't make it is reported with the rest that is unpublished.
func (e *ending) publish(passOver int) {
	ctx, cancel := context.WithTimeout(context.Background(), e.drain)
	defer cancel()
	if passOver < 0 {
		cancel()
	}
	drained := make(chan error, 1)
	go func() { drained <- e.mount.Drain(ctx) }()
	for {
		select {
		case err := <-drained:
			if err != nil {
				e.log.Error("not everything has been published", "error", err)
			}
			return
		case sig := <-e.signals:
			if sig == detachSignal || !e.isAnother() {
				continue
			}
			if passOver--; passOver < 0 {
				e.log.Warn("another signal: publishing is not waited for", "signal", fmt.Sprint(sig))
				cancel()
			}
		}
	}
}

// isAnother reports whether a signal that has just come isn't an echo of the
// last one.
func (e *ending) isAnother() bool {
	now := time.Now()
	another := now.Sub(e.lastSignal) >= signalsApart
	if another {
		e.lastSignal = now
	}
	return another
}
