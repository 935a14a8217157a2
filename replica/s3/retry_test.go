package s3

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// The wait is any time up to a limit that doubles.
func TestDelay(t *testing.T) {
	r := config.Retry{MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second}
	for attempt, limit := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 3: 400 * time.Millisecond, 6: 3200 * time.Millisecond,
		7: 5 * time.Second, 8: 5 * time.Second, 30: 5 * time.Second, 64: 5 * time.Second, math.MaxInt32: 5 * time.Second,
	} {
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		for range 2000 {
			d := delay(r, attempt)
			least, most = min(least, d), max(most, d)
		}
		require.GreaterOrEqual(t, least, time.Duration(0))
		require.LessOrEqual(t, most, limit, "attempt %d", attempt)
		// Full jitter: from nothing to the limit.
		require.Less(t, least, limit/10, "attempt %d", attempt)
		require.Greater(t, most, limit*9/10, "attempt %d", attempt)
	}
}

// No setting makes a wait negative, which no random number can be below.
func TestDelayExtremes(t *testing.T) {
	for _, r := range []config.Retry{
		{}, {MinBackoff: 1}, {MinBackoff: time.Hour, MaxBackoff: time.Hour}, {MinBackoff: 20 * time.Second, MaxBackoff: math.MaxInt64 - 1},
		{MinBackoff: time.Hour, MaxBackoff: time.Millisecond},
	} {
		for attempt := 1; attempt < 100; attempt++ {
			d := delay(r, attempt)
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.LessOrEqual(t, d, max(r.MaxBackoff, r.MinBackoff))
		}
	}
}

// What may pass is asked again, as often as configured, and nothing else is.
func TestRetried(t *testing.T) {
	code := func(status int, code string) http.HandlerFunc { return refuse(status, code) }
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		again  bool
	}{
		{"408", code(408, ""), true},
		{"429", code(429, ""), true},
		{"500", code(500, ""), true},
		{"502", code(502, ""), true},
		{"503", code(503, ""), true},
		{"504", code(504, ""), true},
		{"a page of HTML", say(502, "<html><body>Bad Gateway</body></html>"), true},
		{"RequestCanceled", code(408, "RequestCanceled"), true},
		{"RequestTimeout", code(400, "RequestTimeout"), true},
		{"RequestTimeTooSkewed", code(403, "RequestTimeTooSkewed"), true},
		{"SlowDown", code(503, "SlowDown"), true},
		{"InternalError", code(500, "InternalError"), true},
		{"ServiceUnavailable", code(503, "ServiceUnavailable"), true},
		{"Throttling", code(400, "Throttling"), true},
		{"ThrottlingException", code(400, "ThrottlingException"), true},
		{"RequestLimitExceeded", code(400, "RequestLimitExceeded"), true},
		{"BandwidthLimitExceeded", code(509, "BandwidthLimitExceeded"), true},
		{"OperationAborted", code(409, "OperationAborted"), true},
		{"ConditionalRequestConflict", code(409, "ConditionalRequestConflict"), true},
		{"IncompleteBody", code(400, "IncompleteBody"), true},
		{"reset", reset, true},
		{"closed", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},

		{"400", code(400, ""), false},
		{"401", code(401, ""), false},
		{"403", code(403, ""), false},
		{"404", code(404, ""), false},
		{"405", code(405, ""), false},
		{"409", code(409, ""), false},
		{"412", code(412, ""), false},
		{"501", code(501, "NotImplemented"), false},
		{"505", code(505, ""), false},
		{"AccessDenied", code(403, "AccessDenied"), false},
		{"AccessDenied as a 500", code(500, "AccessDenied"), false},
		{"NoSuchBucket as a 503", code(503, "NoSuchBucket"), false},
		{"NoSuchKey", code(404, "NoSuchKey"), false},
		{"NoSuchBucket", code(404, "NoSuchBucket"), false},
		{"PermanentRedirect", code(301, "PermanentRedirect"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": tt.answer})
			_, err := readRange(t, s.store(t), "", 0, 0)
			require.Error(t, err)
			want := 1
			if tt.again {
				want = 3
			}
			require.Len(t, s.of("GET"), want)

			if tt.again {
				s = serve(t, answers{"GET": inTurn(tt.answer, object([]byte("x"), "v1"))})
				got, err := readRange(t, s.store(t), "", 0, 0)
				require.NoError(t, err)
				require.Equal(t, "x", string(got))
				require.Equal(t, "GET GET", s.ops())
			}
		})
	}
}

// An answer that breaks off is asked for again as well, where it is no body that
// can be resumed.
func TestRetriesBrokenListing(t *testing.T) {
	page := pageOf("", 1, 2, 3)
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(page)))
		_, _ = w.Write([]byte(page[:len(page)/2]))
		_ = http.NewResponseController(w).Flush()
	}
	for name, broken := range map[string]http.HandlerFunc{
		"closed": func(w http.ResponseWriter, r *http.Request) {
			half(w, r)
			panic(http.ErrAbortHandler)
		},
		"reset": func(w http.ResponseWriter, r *http.Request) {
			half(w, r)
			hangUp(w)
		},
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			half(w, r)
			hang(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": inTurn(broken, say(200, page))})
			c := s.store(t, func(c *config.Config) { c.Timeouts.Stall = 200 * time.Millisecond })
			require.Equal(t, []int{1, 2, 3}, listed(t, c, 0))
			require.Equal(t, "LIST LIST", s.ops())

			s = serve(t, answers{"LIST": broken})
			c = s.store(t, func(c *config.Config) { c.Timeouts.Stall = 50 * time.Millisecond })
			require.Error(t, listError(t, c, false))
			require.Equal(t, "LIST LIST LIST", s.ops())
		})
	}
}

// What isn't S3's answer at all is no listing, and not asked for again.
func TestListingIsNoXML(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"nothing": say(200, ""), "text": say(200, "hello"), "HTML": say(200, "<html><p>Sign in</html>"),
		"XHTML": say(200, "<html><body>Sign in</body></html>"),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": answer})
			require.ErrorContains(t, listError(t, s.store(t), false), "ListObjectsV2")
			require.Equal(t, "LIST", s.ops())
		})
	}
}

// The clock is set by the store's, which signs from then on.
func TestRetryCorrectsClock(t *testing.T) {
	later := time.Now().Add(3 * time.Hour).UTC()
	skewed := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", later.Format(http.TimeFormat))
		refuse(http.StatusForbidden, "RequestTimeTooSkewed")(w, r)
	}
	s := serve(t, answers{"GET": inTurn(skewed, object([]byte("x"), "v1"))})
	_, err := readRange(t, s.store(t), "", 0, 0)
	require.NoError(t, err)
	calls := s.of("GET")
	require.Len(t, calls, 2)
	signed, err := time.Parse("20060102T150405Z", calls[1].get("X-Amz-Date"))
	require.NoError(t, err)
	require.WithinDuration(t, later, signed, time.Minute)
}

// A deadline or the end of the context beats attempts and waits.
func TestRetryEndsWithContext(t *testing.T) {
	s := serve(t, answers{"GET": refuse(503, "SlowDown")})
	c := s.store(t, func(c *config.Config) {
		c.Retry = config.Retry{Attempts: 1000, MinBackoff: 10 * time.Second, MaxBackoff: 10 * time.Second}
	})
	for name, want := range map[string]error{"deadline": context.DeadlineExceeded, "cancelled": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if want == context.Canceled {
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
			}
			began := time.Now()
			_, err := c.OpenLTXFile(ctx, replica.File{Name: nth(1)}, 0, 0)
			require.ErrorIs(t, err, want)
			require.Less(t, time.Since(began), 2*time.Second)
			require.ErrorContains(t, err, "GetObject")
		})
	}
}

// A body is sent again from its beginning.
func TestRetrySendsBodyAgain(t *testing.T) {
	data := bytesOf(1 << 20)
	s := serve(t, answers{
		"PUT":  inTurn(refuse(503, "SlowDown"), reset, stored("v1")),
		"HEAD": object(data, "v1", "X-Amz-Checksum-Crc64nvme", checksumOf(data)),
	})
	_, err := s.store(t).WriteLTXFile(within(t, 10*time.Second), nth(1), strings.NewReader(string(data)), replica.WriteOptions{})
	require.NoError(t, err)
	puts := s.of("PUT")
	require.Len(t, puts, 3)
	for _, put := range puts {
		require.True(t, string(data) == string(put.body))
	}
}

// A certificate that isn't trusted will not be trusted at the next attempt, nor
// will a name be found.
func TestNotRetriedForGood(t *testing.T) {
	s := newServer(nil)
	s.StartTLS()
	t.Cleanup(s.stop)
	c := s.store(t)
	_, err := c.OpenLTXFile(within(t, 10*time.Second), replica.File{Name: nth(1)}, 0, 0)
	require.ErrorIs(t, err, transport.ErrTLS)
	require.Equal(t, 1, s.connections())
	require.NotErrorIs(t, err, os.ErrNotExist)
}
