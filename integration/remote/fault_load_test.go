package remote

import (
	"bytes"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// load is a reader and a writer that use a mount, each with one tool after the
// other.
type load struct {
	rig  *rig
	opts loadOptions
	stop chan struct{}
	wg   sync.WaitGroup

	mu            sync.Mutex
	reads, writes []outcome
}

// loadOptions say what the reader and the writer may meet with.
type loadOptions struct {
	readErrnos, writeErrnos []syscall.Errno
	pages                   []uint32 // sizes to write, by turns; small and a megabyte if nil
}

const (
	// readMax is how long a reader may take, who looks up a file and reads a
	// block of it, or all of it if the store only is slow.
	readMax = 65 * time.Second

	// publishMax is the same for publishing, which is tried 25 times. The pauses
	// are 94 s at most, and half of it nearly always.
	publishMax = 100 * time.Second

	// writeMax is the same for a writer, who also looks up the name, twice.
	writeMax = publishMax + 65*time.Second

	// opPause is between two tools, lest they take the machine from the
	// other tests.
	opPause = 250 * time.Millisecond
)

// use starts the reader and the writer.
func (r *rig) use(opts loadOptions) *load {
	r.t.Helper()
	if opts.pages == nil {
		opts.pages = []uint32{3, 3, 256}
	}
	l := &load{rig: r, opts: opts, stop: make(chan struct{})}
	readers := []readFlag{direct, buffered}
	writers := []writeMode{throughClose, throughRename, throughFsync}
	l.loop(func(i int) {
		// The last two seeds are read when it is over, and nobody has them
		// in memory then.
		got := r.read(r.seeds[i%(len(r.seeds)-2)], readers[i%len(readers)])
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reads = append(l.reads, got)
	})
	l.loop(func(i int) {
		got := r.write(r.newWrite(opts.pages[i%len(opts.pages)]), writers[i%len(writers)])
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writes = append(l.writes, got)
	})
	r.t.Cleanup(func() {
		if !l.stopped() {
			close(l.stop)
		}
		l.wg.Wait()
	})
	return l
}

func (l *load) loop(fn func(i int)) {
	l.wg.Go(func() {
		for i := 0; ; i++ {
			fn(i)
			select {
			case <-l.stop:
				return
			case <-time.After(opPause):
			}
		}
	})
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// done is how many files were read and written since the load began.
func (l *load) done() (reads, writes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.reads), len(l.writes)
}

// goOn waits until so many more files were read and written.
func (l *load) goOn(reads, writes int) {
	l.rig.t.Helper()
	r, w := l.done()
	ltxfstest.Eventually(l.rig.t, toolTimeout, "the reader and the writer have gone on", func() bool {
		nowR, nowW := l.done()
		return nowR >= r+reads && nowW >= w+writes
	})
}

// end stops the reader and the writer, and checks all that they have met with. It
// returns the writes that have failed.
func (l *load) end() (failed []outcome) {
	t := l.rig.t
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	require.False(t, t.Failed(), "a tool has hung")
	require.NotEmpty(t, l.reads)
	require.NotEmpty(t, l.writes)
	for _, o := range l.reads {
		requireRead(t, o, l.opts.readErrnos)
		require.LessOrEqual(t, o.took, readMax, "%s %s: %s", o.tool, o.file.path(), o.stderr)
	}
	for _, o := range l.writes {
		require.LessOrEqual(t, o.took, writeMax, "%s %s: %s", o.tool, o.file.path(), o.stderr)
		if o.errno != 0 {
			require.Contains(t, l.opts.writeErrnos, o.errno, "%s %s: %s", o.tool, o.file.path(), o.stderr)
			failed = append(failed, o)
		}
	}
	t.Logf("read %d files, %d with errors, and wrote %d, %d with errors", len(l.reads),
		countErrors(l.reads), len(l.writes), len(failed))
	return failed
}

// requireRead looks at one read: its bytes must be right, and all there unless it
// failed in one of the allowed ways.
func requireRead(t testing.TB, o outcome, allowed []syscall.Errno) {
	t.Helper()
	require.True(t, bytes.HasPrefix(o.file.data, o.data), "%s %s gave wrong bytes", o.tool, o.file.path())
	if o.errno == 0 {
		require.Len(t, o.data, len(o.file.data), "%s %s: a short file without an error", o.tool, o.file.path())
		return
	}
	require.True(t, slices.Contains(allowed, o.errno), "%s %s: %v: %s", o.tool, o.file.path(), o.errno, o.stderr)
}

func countErrors(outcomes []outcome) (n int) {
	for _, o := range outcomes {
		if o.errno != 0 {
			n++
		}
	}
	return n
}

// requireStaged looks for what failed writes have left: each is in the mount, with
// its bytes, and on disk, unless the tool was refused before it had written.
func (r *rig) requireStaged(failed []outcome) {
	r.t.Helper()
	staged := r.stagedFiles()
	for _, o := range failed {
		if o.staged == "" {
			require.Regexp(r.t, `cannot stat|failed to (access|open)|cannot create`, o.stderr)
			continue
		}
		result, _ := r.run("cat", r.m.Path(o.staged))
		require.Zero(r.t, result.Code, result)
		require.True(r.t, result.Stdout == string(o.file.data), "the staged %s has other bytes", o.staged)
		require.NotEmpty(r.t, staged, "%s is on no disk", o.staged)
	}
}

// publishAll publishes what failed writes have left.
func (r *rig) publishAll(failed []outcome) {
	r.t.Helper()
	r.requireStaged(failed)
	for _, o := range failed {
		if o.staged == "" {
			continue
		}
		got := r.publish(o)
		require.NoError(r.t, got.err(), "publish %s again: %s", o.staged, got.stderr)
	}
}
