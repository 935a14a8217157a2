package s3

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// slowly sends n bytes of an object at once, and then one at a time with a pause before each.
func slowly(data []byte, n int, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		for at, to := 0, n; to <= len(data); at, to = to, to+1 {
			if _, err := w.Write(data[at:to]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			if wait(r.Context(), pause) != nil {
				return
			}
		}
	}
}

// A read that doesn't begin, or whose body stops or trickles, is asked for again, and goes on with
// what comes, whether or not the version was known before.
func TestHedges(t *testing.T) {
	data := bytesOf(300_000)
	for _, tt := range []struct {
		name    string
		version string
		first   http.HandlerFunc
		second  string // its range
	}{
		{"no answer", "v1", hang, ""},
		{"a body that doesn't begin", "v1", slowly(data, 0, time.Hour), "bytes=0-299999"},
		{"a body that stops", "v1", slowly(data, 100_000, time.Hour), "bytes=100000-299999"},
		{"a body that stops, of any version", "", slowly(data, 100_000, time.Hour), "bytes=100000-299999"},
		{"a body that lacks a byte", "v1", slowly(data, 299_999, time.Hour), "bytes=299999-299999"},
		{"a body that trickles", "v1", slowly(data, 0, 70*time.Millisecond), "bytes=2-299999"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := serveInBubble(t, answers{"GET": inTurn(tt.first, object(data, "v1"))})
				began := time.Now()
				got, err := readRange(t, c, tt.version, 0, 0)
				require.NoError(t, err)
				require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
				require.Equal(t, transport.MinPatience, time.Since(began))
				calls := s.of("GET")
				require.Len(t, calls, 2)
				require.Equal(t, `"v1"`, calls[1].get("If-Match"))
				require.Equal(t, tt.second, calls[1].get("Range"))
				require.Equal(t, 1, told(t, c, "hedges_total"))
				require.Equal(t, 1, told(t, c, "hedges_won_total"))
				require.Zero(t, told(t, c, "resumes_total"))
			})
		})
	}
}

// part is what an object is sent up to before a pause.
type part struct {
	to    int
	pause time.Duration
}

// withPauses sends an object with pauses.
func withPauses(data []byte, parts ...part) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		at := 0
		for _, p := range append(parts, part{len(data), 0}) {
			_, _ = w.Write(data[at:p.to])
			_ = http.NewResponseController(w).Flush()
			if wait(r.Context(), p.pause) != nil {
				return
			}
			at = p.to
		}
	}
}

// A body goes on where what was asked for again is none of the rest, or comes too late. It is asked for
// again by one request, whatever that is answered.
func TestHedgesKeepTheFirst(t *testing.T) {
	data := bytesOf(300_000)
	for _, tt := range []struct {
		name   string
		second http.HandlerFunc
		again  int // bytes that come before it
	}{
		{"replaced", object(bytesOf(300_000), "v2"), 0},
		{"gone", refuse(404, "NoSuchKey"), 0},
		{"refused", refuse(403, "AccessDenied"), 0},
		{"refused for now", refuse(503, "SlowDown"), 0},
		{"outside", refuse(416, "InvalidRange"), 0},
		{"shorter", object(data[:200_000], "v1"), 0},
		{"broken", reset, 0},
		{"silent", hang, 0},
		{"later than a piece", after(500*time.Millisecond, object(data, "v1")), piece},
		{"later than all", after(901*time.Millisecond, object(data, "v1")), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := withPauses(data, part{100_000, 600 * time.Millisecond}, part{100_000 + tt.again, 500 * time.Millisecond})
				s, c := serveInBubble(t, answers{"GET": inTurn(first, tt.second)})
				began := time.Now()
				r, err := c.OpenLTXFile(t.Context(), versioned("v1"), 0, 0)
				require.NoError(t, err)
				got := make([]byte, len(data))
				_, err = io.ReadFull(r, got)
				require.NoError(t, err)
				require.True(t, string(data) == string(got), "other bytes")
				require.Equal(t, transport.MinPatience+900*time.Millisecond, time.Since(began))
				time.Sleep(time.Second)
				require.Equal(t, "GET GET", s.ops())
				require.Equal(t, 1, told(t, c, "hedges_total"))
				require.Zero(t, told(t, c, "hedges_won_total"))
				require.Zero(t, told(t, c, "resumes_total"))
				require.Zero(t, told(t, c, "retries_total", "GetObject"))
				require.NoError(t, r.Close())
			})
		})
	}
}

// A body that goes on while it is asked for again, but not as far as others would, is given up.
func TestHedgesGiveUpTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytesOf(300_000)
		first := withPauses(data, part{100_000, 600 * time.Millisecond}, part{100_000 + piece - 1, 500 * time.Millisecond})
		s, c := serveInBubble(t, answers{"GET": inTurn(first, after(500*time.Millisecond, object(data, "v1")))})
		began := time.Now()
		got, err := readRange(t, c, "v1", 0, 0)
		require.NoError(t, err)
		require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
		require.Equal(t, transport.MinPatience+500*time.Millisecond, time.Since(began))
		require.Equal(t, "GET GET", s.ops())
		require.Equal(t, 1, told(t, c, "hedges_won_total"))
	})
}

// after answers after some time.
func after(d time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if wait(r.Context(), d) == nil {
			then(w, r)
		}
	}
}

// What is late when no GET may be made again is made again once one may: its answer, or the rest of it.
func TestHedgesOnceTheyMay(t *testing.T) {
	const getsPerHedge = 20
	data := bytesOf(300_000)
	for _, tt := range []struct {
		name  string
		first http.HandlerFunc
		after time.Duration
	}{
		{"no answer", hang, 3 * transport.MinPatience},
		{"a body that stops", withPauses(data, part{1000, time.Hour}), 3 * transport.MinPatience},
		{"a body that trickles", slowly(data, 0, 7*time.Millisecond), 203*time.Millisecond + transport.MinPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := serveInBubble(t, answers{"GET": inTurn(tt.first, object(data, "v1"))})
				require.True(t, c.pace.MayHedge())
				time.AfterFunc(2*transport.MinPatience+time.Millisecond, func() {
					require.Len(t, s.of("GET"), 1)
					for range 2*getsPerHedge - 1 {
						c.pace.Begin()
					}
				})
				began := time.Now()
				got, err := readRange(t, c, "v1", 0, 0)
				require.NoError(t, err)
				require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
				require.Equal(t, tt.after, time.Since(began))
				require.Len(t, s.of("GET"), 2)
				require.Equal(t, 1, told(t, c, "hedges_total"))
				require.Equal(t, 1, told(t, c, "hedges_won_total"))
			})
		})
	}
}

// A GET that is late keeps its connection, and one that is made again has another. Each counts by itself, with
// the time that it took.
func TestHedgesHaveConnections(t *testing.T) {
	const took = 10 * time.Millisecond
	data := bytesOf(300_000)
	for _, tt := range []struct {
		name     string
		first    http.HandlerFunc
		statuses []string
	}{
		{"no answer", hang, []string{"none", "200"}},
		{"a body that stops", withPauses(data, part{1000, time.Hour}), []string{"200", "206"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := serveInBubble(t, answers{"GET": inTurn(tt.first, after(took, object(data, "v1")))},
					func(c *config.Config) { c.MaxConnections = 1 })
				began := time.Now()
				got, err := readRange(t, c, "v1", 0, 0)
				require.NoError(t, err)
				require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
				require.Equal(t, transport.MinPatience+took, time.Since(began))
				synctest.Wait()
				require.Equal(t, 1, told(t, c, "hedges_total"))
				require.Equal(t, 1, told(t, c, "hedges_won_total"))
				for _, status := range tt.statuses {
					require.Equal(t, 1, told(t, c, "requests_total", "GetObject", status), status)
				}
				require.Equal(t, took.Seconds(), metric(t, c, "first_byte_seconds", "GetObject").GetHistogram().GetSampleSum())
			})
		})
	}
}

// Who waits for a connection isn't late, nor are those who wait for him.
func TestHedgesNotWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := serveInBubble(t, answers{"GET": after(transport.MinPatience-1, object(bytesOf(10), "v1"))}, func(c *config.Config) { c.MaxConnections = 1 })
		var all errgroup.Group
		for range 5 {
			all.Go(func() error {
				r, err := c.OpenLTXFile(t.Context(), versioned("v1"), 0, 0)
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.ReadAll(r)
				return err
			})
		}
		require.NoError(t, all.Wait())
		require.Len(t, s.of("GET"), 5)
		require.Zero(t, told(t, c, "hedges_total"))
	})
}

// What breaks off while the rest is on its way is not asked for a third time, unless that gets no answer: then it is gone
// on with as without it.
func TestHedgesOfWhatBreaks(t *testing.T) {
	const breaks = 300 * time.Millisecond
	data := bytesOf(300_000)
	for _, tt := range []struct {
		name               string
		rest               http.HandlerFunc
		after              time.Duration
		gets, won, resumed int
	}{
		{"an answer", after(200*time.Millisecond, object(data, "v1")), transport.MinPatience + 200*time.Millisecond, 2, 1, 0},
		{"no answer", hang, breaks + transport.MinPatience, 3, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := serveInBubble(t, answers{"GET": inTurn(func(w http.ResponseWriter, r *http.Request) {
					ctx, cancel := context.WithTimeout(r.Context(), breaks)
					defer cancel()
					slowly(data, 100_000, time.Hour)(w, r.WithContext(ctx))
					panic(http.ErrAbortHandler)
				}, tt.rest, object(data, "v1"))})
				began := time.Now()
				got, err := readRange(t, c, "v1", 0, 0)
				require.NoError(t, err)
				require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
				require.Equal(t, tt.after, time.Since(began))
				require.Len(t, s.of("GET"), tt.gets)
				require.Equal(t, 1, told(t, c, "hedges_total"))
				require.Equal(t, tt.won, told(t, c, "hedges_won_total"))
				require.Equal(t, tt.resumed, told(t, c, "resumes_total"))
			})
		})
	}
}

// timedBody gives some bytes with each Read, after some time.
type timedBody struct {
	n    int
	took time.Duration
}

func (b *timedBody) Read([]byte) (int, error) { time.Sleep(b.took); return b.n, nil }
func (b *timedBody) Close() error             { return nil }

// A body is late once it has been waited for too long at once, or for its bytes together. That others take as long, or
// that its reader does, makes it none.
func TestLateBodies(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		n      int           // bytes with each Read
		took   time.Duration // by it
		away   time.Duration // of the reader, after it
		others time.Duration // took so long for a piece
		want   int           // Reads after which the rest is asked for; 0 is never
	}{
		{"as others", 64 << 10, 20 * ms, 0, 20 * ms, 0},
		{"slower", 8 << 10, 20 * ms, 0, 20 * ms, 0},
		{"much slower", 8 << 10, 31 * ms, 0, 20 * ms, 17},
		{"silent", 64 << 10, 201 * ms, 0, ms, 1},
		{"trickling", 1, ms, 0, ms, 201},
		{"read slowly", 64 << 10, 5 * ms, time.Second, ms, 0},
		{"slow, read slowly", 64 << 10, 20 * ms, time.Second, 20 * ms, 0},
		{"of an unknown pace", 64 << 10, 199 * ms, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := transport.NewPool().Pace(config.Config{})
				p.Answered(0)
				if tt.others > 0 {
					p.Came(piece, tt.others)
				}
				s, c := serveInBubble(t, answers{"GET": refuse(403, "AccessDenied")})
				c.pace = p
				r := &reader{at: c.ready.Load(), ctx: t.Context(), key: fileKey(1), left: math.MaxInt64, body: &timedBody{tt.n, tt.took}}
				asked := 0
				for i := 1; i <= 1000 && asked == 0; i++ {
					n, err := r.next(nil)
					require.NoError(t, err)
					require.Equal(t, tt.n, n)
					if synctest.Wait(); len(s.of("GET")) > 0 {
						asked = i
					}
					time.Sleep(tt.away)
				}
				require.Equal(t, tt.want, asked)
			})
		})
	}
}

// How long a reader takes isn't how long the store does.
func TestPaceOfReaders(t *testing.T) {
	for _, tt := range []struct {
		away time.Duration // before it waits for a millisecond
		want time.Duration
	}{
		{0, 8 * time.Millisecond / 64},
		{time.Millisecond, 8 * time.Millisecond / 64},
		{2 * time.Millisecond, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, c := serveInBubble(t, answers{})
			c.pace = transport.NewPool().Pace(config.Config{})
			r := &reader{at: c.ready.Load(), ctx: t.Context(), own: true, left: math.MaxInt64, body: &timedBody{piece, time.Millisecond}}
			r.began = time.Now()
			time.Sleep(tt.away)
			n, err := r.Read(make([]byte, piece))
			require.NoError(t, err)
			require.Equal(t, piece, n)
			_, perKiB := c.pace.Bounds()
			require.Equal(t, tt.want, perKiB)
		})
	}
}

// What ends a read ends what was asked for again.
func TestHedgesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		stop := func(w http.ResponseWriter, r *http.Request) {
			slowly(bytesOf(300_000), 1000, time.Hour)(w, r)
			ended.Add(1)
		}
		s, c := serveInBubble(t, answers{"GET": inTurn(stop, func(w http.ResponseWriter, r *http.Request) {
			hang(w, r)
			ended.Add(1)
		})})
		ctx, cancel := context.WithTimeout(t.Context(), transport.MinPatience+time.Millisecond)
		defer cancel()
		r, err := c.OpenLTXFile(ctx, versioned("v1"), 0, 0)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, r.Close())
		synctest.Wait()
		require.Len(t, s.of("GET"), 2)
		require.Equal(t, int32(2), ended.Load())
	})
}

// A body that is late is waited for once the store is closed.
func TestHedgesNotOfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytesOf(300_000)
		s, c := serveInBubble(t, answers{"GET": withPauses(data, part{1000, time.Second})})
		r, err := c.OpenLTXFile(t.Context(), versioned("v1"), 0, 0)
		require.NoError(t, err)
		c.end()
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
		require.NoError(t, r.Close())
		require.Len(t, s.of("GET"), 1)
	})
}

// Without hedges, a read waits.
func TestNoHedges(t *testing.T) {
	for name, stop := range map[string]http.HandlerFunc{"no answer": hang, "a body that stops": slowly(bytesOf(10), 1, time.Hour)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := serveInBubble(t, answers{"GET": stop}, func(c *config.Config) { c.Hedge = new(false) })
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				r, err := c.OpenLTXFile(ctx, versioned("v1"), 0, 0)
				if err == nil {
					_, err = io.ReadAll(r)
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Len(t, s.of("GET"), 1)
			})
		})
	}
}
