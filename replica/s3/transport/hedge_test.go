package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

// scripted answers each request in its own way, after its own time.
type scripted struct {
	script []script

	mu     sync.Mutex
	sent   []time.Time
	bodies []*scriptedBody
}

type script struct {
	after  time.Duration // it has its connection
	status int           // 0 is an error, and less than that one without a connection
	queued time.Duration // until it has that
}

// scriptedBody tells which of the answers it is of.
type scriptedBody struct {
	io.Reader
	closed bool
}

func (b *scriptedBody) Close() error { b.closed = true; return nil }

// wait waits, unless the context ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *scripted) Do(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.sent)
	s.sent = append(s.sent, time.Now())
	s.mu.Unlock()
	if err := wait(req.Context(), s.script[n].queued); err != nil {
		return nil, err
	}
	if s.script[n].status < 0 {
		return nil, fmt.Errorf("no connection %d", n)
	}
	httptrace.ContextClientTrace(req.Context()).GotConn(httptrace.GotConnInfo{})
	if err := wait(req.Context(), s.script[n].after); err != nil {
		return nil, err
	}
	if s.script[n].status == 0 {
		return nil, fmt.Errorf("no answer %d", n)
	}
	body := &scriptedBody{Reader: strings.NewReader(fmt.Sprint("answer ", n))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
	return &http.Response{StatusCode: s.script[n].status, Body: body}, nil
}

// hedger is one of a store that has been fast.
func (s *scripted) hedger(t *testing.T) *hedger {
	c, pace := &Connections{Tally: newTally()}, newPace()
	pace.Answered(0)
	return &hedger{c, t.Context(), s, &again{s, c.Tally}, pace}
}

// told is the value of a counter.
func told(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return int(m.GetCounter().GetValue())
}

// What the store has never seen gives no right to ask it again.
func TestHedgerWithoutConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &scripted{script: slices.Repeat([]script{{0, -1, time.Second}}, 2*getsPerHedge)}
		h := store.hedger(t)
		require.True(t, h.pace.MayHedge(t.Context(), t.Context()), "in advance")
		for range store.script {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/", nil)
			require.NoError(t, err)
			_, err = h.Do(req)
			require.ErrorContains(t, err, "no connection")
		}
		require.False(t, h.pace.MayHedge(t.Context(), t.Context()))
	})
}

// A request that isn't answered in time is sent again. What the first ends with is taken, or what
// the second brings before, and the other ends.
func TestHedger(t *testing.T) {
	const ms, never = time.Millisecond, time.Hour
	for _, tt := range []struct {
		name   string
		script []script
		want   string // or an error
		after  time.Duration
		hedges int
		won    int
	}{
		{"in time", []script{{199 * ms, 200, 0}}, "answer 0", 199 * ms, 0, 0},
		{"an error in time", []script{{199 * ms, 0, 0}}, "no answer 0", 199 * ms, 0, 0},
		{"in time, once it has a connection", []script{{199 * ms, 200, time.Second}}, "answer 0", 1199 * ms, 0, 0},
		{"no connection", []script{{0, 0, 9 * time.Second}}, "no answer 0", 9 * time.Second, 0, 0},
		{"stalled", []script{{never, 0, 0}, {ms, 206, 0}}, "answer 1", 201 * ms, 1, 1},
		{"stalled, once it has a connection", []script{{never, 0, 70 * ms}, {ms, 206, 0}}, "answer 1", 271 * ms, 1, 1},
		{"late", []script{{300 * ms, 206, 0}, {never, 0, 0}}, "answer 0", 300 * ms, 1, 0},
		{"late, and no connection for the second", []script{{300 * ms, 206, 0}, {0, 0, never}}, "answer 0", 300 * ms, 0, 0},
		{"both", []script{{300 * ms, 206, 0}, {90 * ms, 200, 0}}, "answer 1", 290 * ms, 1, 1},
		{"the second fails", []script{{400 * ms, 200, 0}, {ms, 0, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second is refused for now", []script{{400 * ms, 200, 0}, {ms, 503, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second is refused for now, as AWS does it", []script{{400 * ms, 200, 0}, {ms, 400, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second is refused", []script{{400 * ms, 200, 0}, {ms, 403, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second isn't there", []script{{400 * ms, 200, 0}, {ms, 404, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second isn't of the version", []script{{never, 200, 0}, {ms, 412, 0}}, "answer 1", 201 * ms, 1, 1},
		{"the first fails", []script{{300 * ms, 0, 0}, {never, 200, 0}}, "no answer 0", 300 * ms, 1, 0},
		{"the first is refused for now", []script{{300 * ms, 503, 0}, {never, 200, 0}}, "answer 0", 300 * ms, 1, 0},
		{"both are refused for now", []script{{400 * ms, 503, 0}, {100 * ms, 500, 0}}, "answer 0", 400 * ms, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &scripted{script: tt.script}
				h := store.hedger(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://store/", nil)
				require.NoError(t, err)
				began := time.Now()
				got, err := h.Do(req)
				require.Equal(t, tt.after, time.Since(began))
				if err != nil {
					require.EqualError(t, err, tt.want)
				} else {
					text, err := io.ReadAll(got.Body)
					require.NoError(t, err)
					require.Equal(t, tt.want, string(text))
				}
				synctest.Wait()
				require.Equal(t, tt.after, time.Since(began), "and nothing is left")
				require.Len(t, store.sent, len(tt.script))
				if len(tt.script) > 1 {
					require.Equal(t, tt.script[0].queued+MinPatience, store.sent[1].Sub(store.sent[0]))
				}
				for _, body := range store.bodies {
					require.Equal(t, err != nil || body != got.Body, body.closed)
				}
				require.Equal(t, tt.hedges, told(t, h.Tally.hedged))
				require.Equal(t, tt.won, told(t, h.Tally.HedgesWon))
			})
		})
	}
}

// What ends a request ends both.
func TestHedgerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &scripted{script: []script{{time.Hour, 0, 0}, {time.Hour, 0, 0}}}
		h := store.hedger(t)
		h.pace = newPace()
		ctx, cancel := context.WithTimeout(t.Context(), 2*firstPatience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://store/", nil)
		require.NoError(t, err)
		began := time.Now()
		_, err = h.Do(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*firstPatience, time.Since(began))
		require.Len(t, store.sent, 2)
		require.Equal(t, firstPatience, store.sent[1].Sub(store.sent[0]))
	})
}

// What is late of a store that is closed isn't sent again.
func TestHedgerOfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &scripted{script: []script{{time.Second, 200, 0}}}
		h := store.hedger(t)
		life, end := context.WithCancel(t.Context())
		end()
		h.life = life
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/", nil)
		require.NoError(t, err)
		_, err = h.Do(req)
		require.NoError(t, err)
		require.Len(t, store.sent, 1)
	})
}
