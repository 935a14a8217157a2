package s3test_test

import (
	"context"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// newBehindToxi is behindProxy with a Toxiproxy before the proxy.
func newBehindToxi(t *testing.T, size int) (*behindProxy, *s3test.ToxicProxy) {
	t.Helper()
	b := newBehindProxy(t, s3test.VersityGW, size)
	toxic := s3test.Toxi(t, b.Endpoint)
	b.client = b.s.ClientAt(t, toxic.Endpoint)
	return b, toxic
}

func TestToxics(t *testing.T) {
	t.Parallel()
	const size = 300_000
	b, toxic := newBehindToxi(t, size)
	require.Contains(t, toxic.URL(b.bucket, "db"), "s3://"+b.bucket+"/db?")
	whole := func(t *testing.T) {
		t.Helper()
		got, _, err := b.get(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, b.data, got)
	}
	slowly := func(least time.Duration) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			begin := time.Now()
			whole(t)
			require.Greater(t, time.Since(begin), least)
		}
	}
	broken := func(least, most int, want error) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			got, _, err := b.get(t.Context(), "")
			require.ErrorIs(t, err, want)
			require.GreaterOrEqual(t, len(got), least)
			require.LessOrEqual(t, len(got), most)
		}
	}
	for name, test := range map[string]struct {
		add   func() func()
		check func(t *testing.T)
	}{
		"latency":    {func() func() { return toxic.Latency(t, 200*time.Millisecond, 0) }, slowly(200 * time.Millisecond)},
		"bandwidth":  {func() func() { return toxic.Bandwidth(t, 600) }, slowly(300 * time.Millisecond)},
		"slicer":     {func() func() { return toxic.Slicer(t, 10_000, 20*time.Millisecond) }, slowly(200 * time.Millisecond)},
		"limit data": {func() func() { return toxic.LimitData(t, 64<<10) }, broken(1, 64<<10, io.ErrUnexpectedEOF)},
		"reset peer": {func() func() { return toxic.ResetPeer(t, 0) }, broken(0, 0, syscall.ECONNRESET)},
		"timeout":    {func() func() { return toxic.Timeout(t, 100*time.Millisecond) }, broken(0, 0, io.EOF)},
		"hang": {func() func() { return toxic.Timeout(t, 0) }, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, _, err := b.get(ctx, "")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			// On connections of its own, as a toxic may act on what is open
			// when it goes.
			b.client = b.s.ClientAt(t, toxic.Endpoint)
			remove := test.add()
			test.check(t)
			remove()
			b.client = b.s.ClientAt(t, toxic.Endpoint)
			whole(t)
		})
	}
}

func TestDisable(t *testing.T) {
	t.Parallel()
	b, toxic := newBehindToxi(t, 10)
	require.NoError(t, b.head(t.Context()))
	toxic.Disable(t)
	require.ErrorIs(t, b.head(t.Context()), syscall.ECONNREFUSED)
	toxic.Enable(t)
	require.NoError(t, b.head(t.Context()))
	require.Equal(t, 2, b.Counts()[s3test.HeadObject], "counted behind the toxics")
}

func TestRestart(t *testing.T) {
	t.Parallel()
	b, toxic := newBehindToxi(t, 10)
	remove := toxic.Latency(t, 200*time.Millisecond, 0)
	toxic.LimitData(t, 0)()
	endpoint := toxic.Endpoint
	toxic.Restart(t)
	require.Equal(t, endpoint, toxic.Endpoint)
	begin := time.Now()
	require.NoError(t, b.head(t.Context()))
	require.Greater(t, time.Since(begin), 200*time.Millisecond, "the toxics are there")
	remove()
	require.NoError(t, b.head(t.Context()))
}
