package transport

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An answer may take as long as 99 of a hundred did, twice as long as any while few are known, and
// always as long as nobody notices.
func TestPatience(t *testing.T) {
	const ms = time.Millisecond
	type times struct {
		n    int
		took time.Duration
	}
	for _, tt := range []struct {
		name  string
		known []times
		want  time.Duration
	}{
		{"nothing known", nil, firstPatience},
		{"one, fast", []times{{1, ms}}, MinPatience},
		{"one, slow", []times{{1, 300 * ms}}, 600 * ms},
		{"many, fast", []times{{1000, ms}}, MinPatience},
		{"99 of a hundred", []times{{1, 390 * ms}, {99, 300 * ms}}, 300 * ms},
		{"98 of a hundred", []times{{2, 390 * ms}, {98, 300 * ms}}, 390 * ms},
		{"two of the last that took longer", []times{{254, 300 * ms}, {2, 310 * ms}}, 300 * ms},
		{"three", []times{{253, 300 * ms}, {3, 310 * ms}}, 310 * ms},
		{"those before", []times{{3, 400 * ms}, {recentGets, ms}}, MinPatience},
		{"some stalled", []times{{300, ms}, {2, 5 * time.Second}}, MinPatience},
		{"more stalled", []times{{300, ms}, {6, 5 * time.Second}}, 2 * MinPatience},
		{"it has become slow", []times{{300, ms}, {12, time.Second}}, time.Second},
		{"it was slow", []times{{300, time.Second}, {253, ms}}, time.Second},
		{"it is fast again", []times{{300, time.Second}, {254, ms}}, MinPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPace()
			for _, known := range tt.known {
				for range known.n {
					p.Answered(known.took)
				}
			}
			patience, _ := p.Bounds()
			require.Equal(t, tt.want, patience)
		})
	}
}

// However many GETs are late, one in twenty is made again, and the first of them in advance.
func TestHedgesAreFew(t *testing.T) {
	p, hedges := newPace(), 0
	for gets := 1; gets <= 10_000; gets++ {
		p.Begin()
		for p.MayHedge() {
			hedges++
		}
		require.Equal(t, max(1, gets/getsPerHedge), hedges, gets)
	}
	// Of those that were not late, only the last ones count.
	for range 10_000 {
		p.Begin()
	}
	for hedges = 0; p.MayHedge(); {
		hedges++
	}
	require.Equal(t, recentGets/getsPerHedge, hedges)
}

// Where one GET in a hundred stalls, or two, those are made again, and soon, though a few can't be:
// most of those among the first.
func TestHedgesWhatStalls(t *testing.T) {
	const gets = 10_000
	for _, percent := range []float64{1, 2} {
		for seed := range uint64(10) {
			rnd, p := rand.New(rand.NewPCG(seed, 0)), newPace()
			stalled, hedged, waited := 0, 0, time.Duration(0)
			for range gets {
				patience, took := p.Begin(), 20*time.Millisecond
				if rnd.Float64()*100 < percent {
					stalled++
					if p.MayHedge() {
						hedged++
						waited += patience
					} else {
						took = 5 * time.Second
					}
				}
				p.Answered(took)
			}
			require.LessOrEqual(t, stalled-hedged, 5, "seed %d", seed)
			require.Less(t, waited/time.Duration(hedged), MinPatience*3/2, "seed %d", seed)
		}
	}
}

// For whom nobody waits, and for a store that is closed, nothing is made again, nor is the right to.
func TestMayHedge(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	p := newPace()
	require.False(t, p.MayHedge(ended, t.Context()))
	require.False(t, p.MayHedge(t.Context(), ended))
	require.True(t, p.MayHedge(t.Context(), t.Context()))
	require.False(t, p.MayHedge(t.Context(), t.Context()), "that was the one in advance")
}

// piece is how much of a body s3 notes the time of.
const piece = 64 << 10

// How long bodies take is known by pieces of them, of which the last count most.
func TestPaceOfBodies(t *testing.T) {
	p := newPace()
	_, perKiB := p.Bounds()
	require.Equal(t, time.Second, perKiB)
	p.Came(piece, 64*time.Millisecond)
	_, perKiB = p.Bounds()
	require.Equal(t, slowest*time.Millisecond, perKiB)
	for range 10 * recentGets {
		p.Came(piece, 640*time.Millisecond)
	}
	_, perKiB = p.Bounds()
	require.InDelta(t, slowest*10*time.Millisecond, perKiB, float64(time.Millisecond))
}

// A piece that stalled hardly changes how long others may take, and all that take longer soon do.
func TestPaceOfBodiesThatStall(t *testing.T) {
	p := newPace()
	for range recentGets {
		p.Came(piece, 0)
	}
	for range 20 * recentGets {
		p.Came(piece, time.Millisecond)
	}
	_, before := p.Bounds()
	require.InDelta(t, slowest*time.Millisecond/64, before, float64(time.Microsecond))
	p.Came(piece, 5*time.Second)
	_, after := p.Bounds()
	require.InDelta(t, before*17/16, after, float64(time.Microsecond))
	for range 100 {
		p.Came(piece, 20*time.Millisecond)
	}
	_, after = p.Bounds()
	require.Greater(t, after, 5*before)
}
