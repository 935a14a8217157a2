package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// scripted answers each request in its own way, after its own time.
type scripted struct {
	script []script

	mu     sync.Mutex
	sent   []time.Time
	bodies []*scriptedBody
}

type script struct {
	after  time.Duration
	status int // 0 is an error
}

// scriptedBody tells which of the answers it is of.
type scriptedBody struct {
	io.Reader
	closed bool
}

func (b *scriptedBody) Close() error { b.closed = true; return nil }

func (s *scripted) Do(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.sent)
	s.sent = append(s.sent, time.Now())
	s.mu.Unlock()
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

// A request that isn't answered in time is sent again. What comes first is taken, unless it is what
// may pass, and the other ends.
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
		{"in time", []script{{199 * ms, 200}}, "answer 0", 199 * ms, 0, 0},
		{"an error in time", []script{{199 * ms, 0}}, "no answer 0", 199 * ms, 0, 0},
		{"stalled", []script{{never, 0}, {ms, 206}}, "answer 1", 201 * ms, 1, 1},
		{"late", []script{{300 * ms, 206}, {never, 0}}, "answer 0", 300 * ms, 1, 0},
		{"both", []script{{300 * ms, 206}, {90 * ms, 200}}, "answer 1", 290 * ms, 1, 1},
		{"the second fails", []script{{400 * ms, 200}, {ms, 0}}, "answer 0", 400 * ms, 1, 0},
		{"the second is refused for now", []script{{400 * ms, 200}, {ms, 503}}, "answer 0", 400 * ms, 1, 0},
		{"the second is refused for good", []script{{400 * ms, 200}, {ms, 404}}, "answer 1", 201 * ms, 1, 1},
		{"the first fails", []script{{300 * ms, 0}, {200 * ms, 200}}, "answer 1", 400 * ms, 1, 1},
		{"the first is refused for now", []script{{300 * ms, 503}, {200 * ms, 200}}, "answer 1", 400 * ms, 1, 1},
		{"both fail", []script{{300 * ms, 0}, {200 * ms, 0}}, "no answer 1", 400 * ms, 1, 0},
		{"both are refused for now", []script{{400 * ms, 503}, {100 * ms, 500}}, "answer 0", 400 * ms, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &scripted{script: tt.script}
				h := &hedger{&bucket{tally: newTally(), pace: newPace()}, store}
				h.pace.answered(0)
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
				require.Len(t, store.sent, 1+tt.hedges)
				if tt.hedges > 0 {
					require.Equal(t, minPatience, store.sent[1].Sub(store.sent[0]))
				}
				for _, body := range store.bodies {
					require.Equal(t, err != nil || body != got.Body, body.closed)
				}
				require.Equal(t, tt.hedges, told(t, h.tally.hedged))
				require.Equal(t, tt.won, told(t, h.tally.hedgesWon))
			})
		})
	}
}

// What ends a request ends both.
func TestHedgerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &scripted{script: []script{{time.Hour, 0}, {time.Hour, 0}}}
		h := &hedger{&bucket{tally: newTally(), pace: newPace()}, store}
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

// serveFast makes a store that has been fast, and that one read may be asked for again.
func serveFast(t *testing.T, gets ...http.HandlerFunc) (*server, *Store) {
	t.Helper()
	s := serve(t, answers{"GET": inTurn(gets...)})
	c := s.store(t)
	c.pace.answered(0)
	c.pace.came(piece, time.Millisecond)
	return s, c
}

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
		second  string // its range, if it is known
	}{
		{"no answer", "v1", hang, ""},
		{"a body that doesn't begin", "v1", slowly(data, 0, time.Hour), "bytes=0-299999"},
		{"a body that stops", "v1", slowly(data, 100_000, time.Hour), "bytes=100000-299999"},
		{"a body that stops, of any version", "", slowly(data, 100_000, time.Hour), "bytes=100000-299999"},
		{"a body that lacks a byte", "v1", slowly(data, 299_999, time.Hour), "bytes=299999-299999"},
		{"a body that trickles", "v1", slowly(data, 0, time.Millisecond), "somewhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := serveFast(t, tt.first, object(data, "v1"))
			got, err := readRange(t, c, tt.version, 0, 0)
			require.NoError(t, err)
			require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
			calls := s.of("GET")
			require.Len(t, calls, 2)
			require.Equal(t, `"v1"`, calls[1].get("If-Match"))
			if tt.second != "somewhere" {
				require.Equal(t, tt.second, calls[1].get("Range"))
			}
			require.Equal(t, 1, told(t, c.tally.hedged))
			require.Equal(t, 1, told(t, c.tally.hedgesWon))
			require.Zero(t, told(t, c.tally.resumed))
		})
	}
}

// A body goes on where what was asked for again is none of the rest, or comes too late.
func TestHedgesKeepTheFirst(t *testing.T) {
	data := bytesOf(300_000)
	for name, second := range map[string]http.HandlerFunc{
		"replaced": object(bytesOf(300_000), "v2"),
		"gone":     refuse(404, "NoSuchKey"),
		"refused":  refuse(403, "AccessDenied"),
		"shorter":  object(data[:200_000], "v1"),
		"silent":   hang,
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 9)
			first := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"v1"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				_, _ = w.Write(data[:100_000])
				_ = http.NewResponseController(w).Flush()
				<-asked
				_ = wait(r.Context(), 50*time.Millisecond) // in which the second may come
				_, _ = w.Write(data[100_000:])
			}
			_, c := serveFast(t, first, func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				second(w, r)
			})
			got, err := readRange(t, c, "", 0, 0)
			require.NoError(t, err)
			require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
			require.Equal(t, 1, told(t, c.tally.hedged))
			require.Zero(t, told(t, c.tally.hedgesWon))
			require.Zero(t, told(t, c.tally.resumed))
		})
	}
}

// What breaks off while the rest is on its way is not asked for a third time.
func TestHedgesOfWhatBreaks(t *testing.T) {
	data := bytesOf(300_000)
	asked := make(chan struct{})
	s, c := serveFast(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:100_000])
		_ = http.NewResponseController(w).Flush()
		<-asked
		hangUp(w)
	}, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		_ = wait(r.Context(), 100*time.Millisecond)
		object(data, "v1")(w, r)
	})
	got, err := readRange(t, c, "v1", 0, 0)
	require.NoError(t, err)
	require.True(t, string(data) == string(got), "other bytes: %d of %d", len(got), len(data))
	require.Len(t, s.of("GET"), 2)
	require.Equal(t, 1, told(t, c.tally.hedged))
	require.Equal(t, 1, told(t, c.tally.hedgesWon))
	require.Zero(t, told(t, c.tally.resumed))
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
				p := newPace()
				p.answered(0)
				if tt.others > 0 {
					p.came(piece, tt.others)
				}
				p.hedged = true // so that no more may be
				r := &reader{
					at:   &session{bucket: &bucket{cfg: config.Config{Hedge: new(true)}, pace: p}},
					body: &timedBody{tt.n, tt.took},
				}
				asked := 0
				for i := 1; i <= 1000 && asked == 0; i++ {
					n, err := r.next(nil)
					require.NoError(t, err)
					require.Equal(t, tt.n, n)
					if r.rest != nil {
						asked = i
					}
					time.Sleep(tt.away)
				}
				require.Equal(t, tt.want, asked)
			})
		})
	}
}

// Close ends what was asked for again.
func TestHedgesClose(t *testing.T) {
	data := bytesOf(300_000)
	begun, ended := make(chan struct{}), make(chan struct{}, 2)
	stop := func(w http.ResponseWriter, r *http.Request) {
		slowly(data, 1000, time.Hour)(w, r)
		ended <- struct{}{}
	}
	_, c := serveFast(t, stop, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		hang(w, r)
		ended <- struct{}{}
	})
	r, err := c.OpenLTXFile(within(t, 20*time.Second), versioned("v1"), 0, 0)
	require.NoError(t, err)
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(r)
		read <- err
	}()
	<-begun
	// As a reader's deadline does it: Close is for when no Read is under way.
	r.(*reader).end()
	require.ErrorIs(t, <-read, context.Canceled)
	require.NoError(t, r.Close())
	for range 2 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a request goes on")
		}
	}
}

// Without hedges, a read waits.
func TestNoHedges(t *testing.T) {
	data := bytesOf(10)
	for name, stop := range map[string]http.HandlerFunc{"no answer": hang, "a body that stops": slowly(data, 1, time.Hour)} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"GET": inTurn(object(data, "v1"), stop)})
			c := s.store(t, func(c *config.Config) { c.Hedge = new(false) })
			_, err := readRange(t, c, "v1", 0, 0)
			require.NoError(t, err)
			r, err := c.OpenLTXFile(within(t, 3*minPatience), versioned("v1"), 0, 0)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Len(t, s.of("GET"), 2)
		})
	}
}
