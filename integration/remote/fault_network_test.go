package remote

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// timedOut are the errnos of what a store doesn't answer in time.
var timedOut = []syscall.Errno{syscall.ETIMEDOUT, syscall.EIO}

// noticeNothing has a reader and a writer use the mount while something is wrong
// that they must not notice, and then looks at what is left of it.
func (r *rig) noticeNothing(begin func() (end func())) {
	r.t.Helper()
	l := r.use(loadOptions{})
	end := begin()
	l.goOn(6, 4)
	end()
	l.goOn(1, 1)
	require.Empty(r.t, l.end())
	r.requireRecovered()
}

func faultLatency(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{toxic: true})
	r.noticeNothing(func() func() { return r.toxic.Latency(t, 500*time.Millisecond, 0) })
}

func faultBandwidth(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{toxic: true})
	r.noticeNothing(func() func() { return r.toxic.Bandwidth(t, 1000) })
}

// cutAt is after how many bytes a connection ends.
const cutAt = 64 << 10

func faultCutReads(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{toxic: true})
	r.noticeNothing(func() func() { return r.toxic.LimitData(t, cutAt) })
}

func faultCutBodies(t *testing.T, kind *s3test.Kind) {
	for name, reset := range map[string]bool{"closed": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kind, rigOptions{})
			r.noticeNothing(func() func() { return r.proxy.CutBodies(cutAt-1, reset) })
		})
	}
}

// A file that is longer than what a connection lives for can't be written, be it in
// one request or in parts: its data waits in the mount and is published when the
// connections are better. Shorter ones get through.
func faultCutWrites(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{toxic: true})
	l := r.use(loadOptions{pages: []uint32{3}})
	remove := r.toxic.Add(t, "limit_data", s3test.Upstream, map[string]any{"bytes": cutAt})
	failed := make([]outcome, 2)
	done := make(chan struct{}, len(failed))
	for i, pages := range []uint32{256, 1500} { // the second is larger than a part
		go func() {
			defer func() { done <- struct{}{} }()
			failed[i] = r.write(r.newWrite(pages), throughClose)
		}()
	}
	for range failed {
		<-done
	}
	require.Empty(t, r.server.Uploads(t, r.bucket), "the parts of a failed upload")
	r.requireBucket()
	l.goOn(1, 1)
	require.Empty(t, l.end())
	for _, o := range failed {
		require.Contains(t, timedOut, o.errno, o.stderr)
		require.NotEmpty(t, o.staged, o.stderr)
		require.LessOrEqual(t, o.took, publishMax)
		require.Contains(t, r.m.Log(), "not published", o.file.name())
	}
	remove()
	r.publishAll(failed)
	r.requireRecovered()
}
