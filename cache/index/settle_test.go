package index

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/replica"
)

func TestContradicts(t *testing.T) {
	written, none := file(1, 1), replica.File{}
	later := written
	later.ModTime = later.ModTime.Add(time.Hour)
	for _, c := range []struct {
		removed bool
		file    replica.File
		exists  bool
		want    bool
	}{
		{false, written, true, false},
		{false, later, true, false},
		{false, fileOf(1, 1, 2), true, true},
		{false, none, false, true},
		{true, written, true, true},
		{true, none, false, false},
	} {
		change := &change{file: written, exists: !c.removed}
		require.Equal(t, c.want, change.contradicts(answer{file: c.file, exists: c.exists}), "%+v", c)
	}
}

// A store that is slow to show what was done to it is not believed too early.
func TestSettle(t *testing.T) {
	const settle = 3 * freshness
	s := newStore(file(1, 1), file(2, 2), file(4, 4))
	x, clock := newIndex(t, s, Options{Settle: settle})
	listLevel(t, x)
	s.freeze()
	begin := clock.Now()
	s.delete(1, 1)
	x.Remove(name(1, 1))
	s.write(fileOf(2, 2, 2))
	x.Put(fileOf(2, 2, 2))
	s.write(file(3, 3))
	x.Put(file(3, 3))
	x.Put(file(4, 4)) // no news to the store
	want := []replica.File{fileOf(2, 2, 2), file(3, 3), file(4, 4)}
	for clock.Now().Sub(begin) < settle {
		require.Equal(t, want, listLevel(t, x))
		clock.advance(freshness / 2)
		for i := 1; i <= 5; i++ {
			f, validFor := find(t, x, i, i)
			require.Equal(t, i > 1 && i < 5, f != nil)
			require.Positive(t, validFor)
			require.LessOrEqual(t, validFor, freshness)
		}
		clock.advance(freshness / 2)
	}
	// By now it must be another writer's doing.
	require.Equal(t, []replica.File{file(1, 1), file(2, 2), file(4, 4)}, listLevel(t, x))
	s.thaw()
	x.Invalidate(2)
	require.Equal(t, want, listLevel(t, x))
}

// Once the store has shown a change, what it shows later counts.
func TestSettledEarly(t *testing.T) {
	s := newStore()
	x, clock := newIndex(t, s, Options{Settle: 10 * freshness})
	s.write(file(1, 1))
	x.Put(file(1, 1))
	clock.advance(freshness)
	require.Len(t, listLevel(t, x), 1)
	s.delete(1, 1)
	clock.advance(freshness)
	require.Empty(t, listLevel(t, x))
}

func TestManyOwnChanges(t *testing.T) {
	for _, listed := range []bool{true, false} {
		s := newStore(file(1, 1))
		x, clock := newIndex(t, s, Options{})
		if listed {
			listLevel(t, x)
		}
		// One name, often.
		for i := range 5 * minPrune {
			x.Put(fileOf(1, 1, i))
		}
		require.Len(t, x.levels[2].own.changes, 1)
		// Many names, over a long time.
		for i := range 20 * minPrune {
			clock.advance(freshness / minPrune)
			s.write(file(i+2, i+2))
			x.Put(file(i+2, i+2))
			s.delete(i+1, i+1)
			x.Remove(name(i+1, i+1))
		}
		require.Less(t, len(x.levels[2].own.changes), 8*minPrune)
		f, _ := find(t, x, 20*minPrune+1, 20*minPrune+1)
		require.NotNil(t, f)
		f, _ = find(t, x, 20*minPrune, 20*minPrune)
		require.Nil(t, f)
		require.Equal(t, []replica.File{file(20*minPrune+1, 20*minPrune+1)}, listLevel(t, x))
	}
}

// Changes that a listing in flight can't have seen aren't pruned before it lands.
func TestPruneSparesWhatIsInFlight(t *testing.T) {
	s := newStore()
	started, gate := make(chan struct{}), make(chan struct{})
	s.onList = func(context.Context) error { close(started); <-gate; return nil }
	x, clock := newIndex(t, s, Options{})
	done := make(chan []replica.File)
	go func() { done <- listLevel(t, x) }()
	<-started
	for i := range 3 * minPrune {
		x.Put(file(i, i))
	}
	clock.advance(10 * freshness)
	for i := range 3 * minPrune {
		x.Put(file(i+3*minPrune, i+3*minPrune))
	}
	close(gate)
	require.Len(t, <-done, 6*minPrune)
}

// The index against the whole history of a store: every name is shown as it was
// at some moment since the interval began, since the last own change of it, and
// since the last Invalidate.
func TestIndexProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type state struct {
			since  time.Time
			event  int
			file   replica.File
			exists bool
		}
		s := newStore()
		clock := newClock()
		x := New(s, Options{Freshness: freshness, Now: clock.Now})
		defer x.Close()

		event, invalidated := 0, 0
		own := map[replica.Name]int{} // the event of the last own change
		history := map[replica.Name][]state{}
		record := func(f replica.File, exists bool) {
			event++
			history[f.Name] = append(history[f.Name], state{clock.Now(), event, f, exists})
		}
		check := func(name replica.Name, f replica.File, exists bool) {
			states := append([]state{{}}, history[name]...)
			for i, st := range states {
				if st.exists != exists || exists && st.file != f {
					continue
				}
				if i == len(states)-1 {
					return // as it is now
				}
				// It ended with the next state. Was that recently enough?
				next := states[i+1]
				if clock.Now().Sub(next.since) < freshness && next.event > max(own[name], invalidated) {
					return
				}
			}
			require.Fail(t, "stale", "%v: %v %v; own change %d, invalidated %d, history %v",
				name, f, exists, own[name], invalidated, states)
		}
		names := []replica.Name{name(1, 1), name(1, 2), name(2, 2), name(3, 9)}
		drawName := func() replica.Name { return rapid.SampledFrom(names).Draw(t, "name") }
		content := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "op") {
			case 0, 1: // somebody writes
				name := drawName()
				content++
				f := fileOf(int(name.MinTXID), int(name.MaxTXID), content)
				s.write(f)
				record(f, true)
				if rapid.Bool().Draw(t, "own") {
					own[name] = event
					x.Put(f)
				}
			case 2: // somebody deletes
				name := drawName()
				s.delete(int(name.MinTXID), int(name.MaxTXID))
				record(replica.File{Name: name}, false)
				if rapid.Bool().Draw(t, "own") {
					own[name] = event
					x.Remove(name)
				}
			case 3:
				clock.advance(rapid.SampledFrom([]time.Duration{1, freshness / 3, freshness / 2, freshness}).Draw(t, "time"))
			case 4:
				event++
				invalidated = event
				x.Invalidate(2)
			case 5:
				name := drawName()
				f, _ := find(t, x, int(name.MinTXID), int(name.MaxTXID))
				if f == nil {
					f = &replica.File{}
				}
				check(name, *f, f.Level != 0)
			default:
				shown := map[replica.Name]replica.File{}
				for _, f := range listLevel(t, x) {
					shown[f.Name] = f
				}
				for _, name := range names {
					f, ok := shown[name]
					check(name, f, ok)
				}
			}
		}
	})
}

func TestIndexHammer(t *testing.T) {
	s := newStore()
	x := New(s, Options{Freshness: 50 * time.Microsecond, Settle: 100 * time.Microsecond})
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for i := range rounds {
				// Nobody else writes this worker's names.
				n := worker*100 + r.IntN(20)
				switch r.IntN(5) {
				case 0:
					s.write(fileOf(n, n, i))
					x.Put(fileOf(n, n, i))
					f, _ := find(t, x, n, n)
					require.Equal(t, fileOf(n, n, i), *f)
				case 1:
					s.delete(n, n)
					x.Remove(name(n, n))
					f, _ := find(t, x, n, n)
					require.Nil(t, f)
				case 2:
					x.Invalidate(2)
				case 3:
					find(t, x, r.IntN(800), r.IntN(800))
				default:
					s.write(fileOf(n, n, i))
					x.Put(fileOf(n, n, i))
					snapshot, err := x.Level(context.Background(), 2)
					require.NoError(t, err)
					at, ok := snapshot.Search(name(n, n))
					require.True(t, ok)
					require.Equal(t, fileOf(n, n, i), snapshot.At(at))
				}
			}
		})
	}
	wg.Wait()
	x.Close()
}
