package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
)

// fakeMount is a mount that is in use until a time and publishes until another.
type fakeMount struct {
	mounted
	mu       sync.Mutex
	done     chan struct{}
	gone     bool
	detached bool

	usedUntil      time.Time
	publishedUntil time.Time
	detachErr      error
}

func (m *fakeMount) Done() <-chan struct{} { return m.done }

func (m *fakeMount) Unmount() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().Before(m.usedUntil) {
		return mounts.ErrBusy
	}
	if !m.gone {
		m.gone = true
		close(m.done)
	}
	return nil
}

func (m *fakeMount) Detach() error {
	m.detached = m.detachErr == nil
	return m.detachErr
}

func (m *fakeMount) Drain(ctx context.Context) error {
	select {
	case <-time.After(time.Until(m.publishedUntil)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endingTest runs an ending on a clock of its own.
type endingTest struct {
	*ending
	fake    *fakeMount
	signals chan os.Signal
	began   bool
}

func inBubble(t *testing.T, f func(t *testing.T, e *endingTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := &endingTest{fake: &fakeMount{done: make(chan struct{})}, signals: make(chan os.Signal, 8)}
		e.ending = &ending{
			mount: e.fake, log: slog.New(slog.DiscardHandler), signals: e.signals,
			grace: 10 * time.Second,
			onTop: func() bool { return true }, begun: func() { e.began = true },
		}
		f(t, e)
		require.True(t, e.began)
	})
}

// took runs wait and returns how long it took.
func (e *endingTest) took(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	require.NoError(t, e.wait())
	return time.Since(begin)
}

// later sends a signal after a while.
func (e *endingTest) later(after time.Duration, sig os.Signal) {
	time.AfterFunc(after, func() { e.signals <- sig })
}

func TestEndsAtOnceWhenUnused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.signals <- unix.SIGTERM
		require.Zero(t, e.took(t))
		require.False(t, e.fake.detached)
	})
}

func TestWaitsForWhoUsesTheMount(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(3 * time.Second)
		e.signals <- unix.SIGINT
		require.Equal(t, 3*time.Second, e.took(t))
		require.False(t, e.fake.detached)
	})
}

func TestDetachesAfterTheGracePeriod(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.fake.publishedUntil = time.Now().Add(40 * time.Second)
		e.signals <- unix.SIGTERM
		require.Equal(t, 40*time.Second, e.took(t))
		require.True(t, e.fake.detached)
	})
}

func TestDetachSignalHasNoGracePeriod(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.fake.publishedUntil = time.Now().Add(7 * time.Second)
		e.signals <- detachSignal
		e.later(time.Second, detachSignal)
		e.later(3*time.Second, detachSignal)
		require.Equal(t, 7*time.Second, e.took(t))
		require.True(t, e.fake.detached)
	})
}

func TestDetachSignalCutsTheGracePeriodShort(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.fake.publishedUntil = time.Now().Add(4 * time.Second)
		e.signals <- unix.SIGTERM
		e.later(2*time.Second, detachSignal)
		require.Equal(t, 4*time.Second, e.took(t))
		require.True(t, e.fake.detached)
	})
}

func TestSecondSignalEndsAllWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.fake.publishedUntil = time.Now().Add(time.Hour)
		e.signals <- unix.SIGINT
		e.signals <- unix.SIGINT // the echo of the first
		e.later(2*time.Second, unix.SIGINT)
		require.Equal(t, 2*time.Second, e.took(t))
		require.True(t, e.fake.detached)
	})
}

func TestSecondSignalEndsPublishing(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.publishedUntil = time.Now().Add(time.Hour)
		e.signals <- unix.SIGTERM
		e.later(20*time.Second, unix.SIGTERM)
		require.Equal(t, 20*time.Second, e.took(t))
	})
}

func TestPublishingHasADeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.publishedUntil = time.Now().Add(time.Hour)
		e.signals <- unix.SIGTERM
		require.Equal(t, 5*time.Minute, e.took(t))
	})
}

func TestUnmountedByOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.publishedUntil = time.Now().Add(30 * time.Second)
		require.NoError(t, e.fake.Unmount())
		e.later(2*time.Second, unix.SIGTERM)
		require.Equal(t, 30*time.Second, e.took(t), "one signal doesn't end publishing")
	})
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.publishedUntil = time.Now().Add(30 * time.Second)
		require.NoError(t, e.fake.Unmount())
		e.later(2*time.Second, unix.SIGTERM)
		e.later(5*time.Second, unix.SIGTERM)
		require.Equal(t, 5*time.Second, e.took(t), "two do")
	})
}

func TestUnmountedByOthersDuringTheGracePeriod(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.signals <- unix.SIGTERM
		time.AfterFunc(1234*time.Millisecond, func() { close(e.fake.done) })
		require.Equal(t, 1234*time.Millisecond, e.took(t))
		require.False(t, e.fake.detached)
	})
}

func TestNeverUnmountsWhatIsMountedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		covered := time.Now().Add(2 * time.Second)
		e.onTop = func() bool { return time.Now().After(covered) }
		e.signals <- unix.SIGTERM
		require.Equal(t, 2100*time.Millisecond, e.took(t))
	})
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.onTop = func() bool { return false }
		e.signals <- unix.SIGTERM
		err := e.wait()
		require.Equal(t, exitcode.Busy, exitcode.Of(err))
		require.False(t, e.fake.gone)
		require.False(t, e.fake.detached)
	})
}

func TestDetachFails(t *testing.T) {
	inBubble(t, func(t *testing.T, e *endingTest) {
		e.fake.usedUntil = time.Now().Add(time.Hour)
		e.fake.detachErr = errors.New("no helper")
		e.signals <- unix.SIGTERM
		require.ErrorContains(t, e.wait(), "no helper")
	})
}
