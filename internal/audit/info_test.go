package audit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// Each state is in one period, and how far apart it is from the one before counts there. The
// database grows by one byte with each.
func TestGranularity(t *testing.T) {
	end := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var states []State
	add := func(ago ...time.Duration) {
		for _, a := range ago {
			states = append(states, State{TXID: ltx.TXID(len(states) + 1), Time: end.Add(-a), Size: int64(len(states)) + 1})
		}
	}
	require.Empty(t, granularity(nil))
	add(0)
	require.Equal(t, []Period{{Within: 5 * time.Minute, States: 1, Oldest: 1, Newest: 1}}, granularity(states))
	// Not in the order of their times, as after a clock was set back.
	add(time.Second, 3*time.Second, 2*time.Second, 5*time.Minute)
	states = append(states, State{TXID: 99}) // of which no file tells the time
	add(5*time.Minute+30*time.Second, 6*time.Minute, 40*24*time.Hour)
	require.Equal(t, []Period{
		{Within: 5 * time.Minute, States: 5, Every: time.Second, Most: 5*time.Minute - 3*time.Second, Oldest: 5, Newest: 1},
		{Within: time.Hour, States: 2, Every: 40*24*time.Hour - 6*time.Minute, Most: 40*24*time.Hour - 6*time.Minute, Oldest: 8, Newest: 7},
		{States: 1, Oldest: 9, Newest: 9},
	}, granularity(states))
}
