package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

const (
	// detachSignal ends a mount like SIGTERM, without a grace period. ltxfs umount
	// --lazy sends it.
	detachSignal = unix.SIGUSR2

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

// ending sees a mount to its end.
type ending struct {
	mount   mounted
	log     *slog.Logger
	signals <-chan os.Signal

	grace time.Duration // for programs that use the mount
	onTop func() bool   // whether unmounting would unmount this mount
	begun func()        // called when the end begins

	asked     int // how often signals asked for the end; twice is no more waiting
	lastAsked time.Time
}

// wait returns when the mount is gone and nothing is being published, or when
// no more can be done about it.
func (e *ending) wait() error {
	var err error
	select {
	case <-e.mount.Done():
		e.log.Info("the mount has been unmounted")
		e.begun()
	case sig := <-e.signals:
		e.asked, e.lastAsked = 1, time.Now()
		e.log.Info("unmounting", "signal", fmt.Sprint(sig))
		e.begun()
		if sig == detachSignal {
			err = e.detach()
		} else {
			err = e.unmount()
		}
	}
	e.publish()
	return err
}

// hear counts a signal, unless it is to detach or an echo of the last one.
func (e *ending) hear(sig os.Signal) bool {
	now := time.Now()
	if sig == detachSignal || now.Sub(e.lastAsked) < signalsApart {
		return false
	}
	e.asked, e.lastAsked = e.asked+1, now
	return true
}

// unmount unmounts as soon as nobody uses the mount, and detaches it when the
// grace period is over or a second signal arrives.
func (e *ending) unmount() error {
	graceOver := time.After(e.grace)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for told := false; ; told = true {
		err := e.tryUnmount()
		if err == nil {
			return nil
		}
		if !told {
			e.log.Info("the mount can't be unmounted yet", "error", err, "detaching_in", e.grace)
		}
		select {
		case <-e.mount.Done():
			return nil
		case <-retry.C:
			continue
		case sig := <-e.signals:
			if sig != detachSignal && !e.hear(sig) {
				continue
			}
		case <-graceOver:
		}
		return e.detach()
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

// publish waits for what is being published, until that takes too long or a
// second signal arrives. What doesn't make it is reported with the rest that is
// unpublished.
func (e *ending) publish() {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- e.mount.Drain(ctx) }()
	for {
		if e.asked >= 2 {
			cancel()
		}
		select {
		case err := <-drained:
			if err != nil {
				e.log.Error("not everything has been published", "error", err)
			}
			return
		case sig := <-e.signals:
			if e.hear(sig) && e.asked == 2 {
				e.log.Warn("another signal: publishing is not waited for", "signal", fmt.Sprint(sig))
			}
		}
	}
}
