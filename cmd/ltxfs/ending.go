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
	"github.com/ltxfs/ltxfs/fs"
)

const (
	// detachSignal ends a mount like SIGTERM, without a grace period. ltxfs
	// umount --lazy sends it.
	detachSignal = unix.SIGUSR1

	// publishTimeout is how long what is being published at the end may take.
	publishTimeout = 5 * time.Minute

	// retryEvery is how often a busy mount is tried again.
	retryEvery = 100 * time.Millisecond

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
}

// wait returns when the mount is gone and nothing is being published, or when
// no more can be done about it.
func (e *ending) wait() error {
	select {
	case <-e.mount.Done():
		e.log.Info("the mount has been unmounted")
		e.begun()
		ctx, cancel := e.drainContext()
		defer cancel()
		return e.finishPublishing(ctx)
	case sig := <-e.signals:
		e.log.Info("unmounting", "signal", fmt.Sprint(sig))
		e.begun()
		grace := e.grace
		if sig == detachSignal {
			grace = 0
		}
		return e.unmount(grace)
	}
}

// drainContext is done when publishing has taken too long, or when a signal
// says that it shall not be waited for.
func (e *ending) drainContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), e.drain)
	go func() {
		for {
			select {
			case sig := <-e.signals:
				if sig == detachSignal {
					continue // a call to go on, not to give up
				}
				e.log.Warn("another signal: not waiting any more", "signal", fmt.Sprint(sig))
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// unmount unmounts as soon as nobody uses the mount, and detaches it when the
// grace period is over or a second signal arrives.
func (e *ending) unmount(grace time.Duration) error {
	graceOver := time.NewTimer(grace)
	defer graceOver.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	told := false
	for {
		last, err := e.tryUnmount()
		if err == nil {
			return e.publishRest(false)
		}
		if last {
			return err
		}
		if !told {
			told = true
			e.log.Info("the mount can't be unmounted yet", "error", err, "detaching_in", grace)
		}
		select {
		case <-e.mount.Done():
			return e.publishRest(false)
		case <-retry.C:
		case sig := <-e.signals:
			return e.detach(sig != detachSignal)
		case <-graceOver.C:
			return e.detach(false)
		}
	}
}

// tryUnmount tries once. last tells that there is no use in another try.
func (e *ending) tryUnmount() (last bool, err error) {
	select {
	case <-e.mount.Done():
		return true, nil // and what is there now isn't ours
	default:
	}
	if !e.onTop() {
		return false, errors.New("another file system is mounted over it")
	}
	return false, e.mount.Unmount()
}

// detach takes the mount away from those who use it.
func (e *ending) detach(atOnce bool) error {
	if !e.onTop() {
		return exitcode.Errorf(exitcode.Busy, "unmount: another file system is mounted over the mount: unmount that first")
	}
	if err := e.mount.Detach(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	e.log.Warn("detached the mount from programs that still use it")
	return e.publishRest(atOnce)
}

// publishRest waits for what is being published after the mount is gone.
func (e *ending) publishRest(atOnce bool) error {
	ctx, cancel := e.drainContext()
	defer cancel()
	if atOnce {
		cancel()
	}
	err := e.finishPublishing(ctx)
	if err == nil {
		err = e.gone()
	}
	return err
}

// finishPublishing waits for what is being published. What doesn't make it in
// time is reported with the rest that is unpublished.
func (e *ending) finishPublishing(ctx context.Context) error {
	if err := e.mount.Drain(ctx); err != nil {
		e.log.Error("not all has been published", "error", err)
	}
	return nil
}
