package audit

import (
	"context"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// Info is what a replica holds.
type Info struct {
	States      []State  // that can be restored, by ascending TXID
	Gaps        []Range  // transactions that no file has, and after which nothing can be restored until the next snapshot
	Levels      []Level  // that have files
	Granularity []Period // the latest first
	PageSize    uint32   // of the database, in bytes; 0 if no file tells
	Damaged     []File   // whose header, index or trailer can't be true
}

// State is a state that can be restored.
type State struct {
	TXID ltx.TXID
	Time time.Time
	Size int64 // of the database, in bytes; 0 if the files that end there are damaged
}

// Level is the files of a level.
type Level struct {
	Level          int
	Files          int
	Size           int64 // bytes
	Pages          int
	Packed         int64 // bytes that the pages take in the files
	Unpacked       int64 // and in a database
	Min, Max       ltx.TXID
	Oldest, Newest time.Time
}

// Period is states by how long before the last one they were.
type Period struct {
	Within time.Duration // of the last state; 0 is any time
	States int
	Every  time.Duration // median of the times between one and the next
	Most   time.Duration // the longest
	Oldest int64         // the database's size in the oldest of them, in bytes
	Newest int64         // and in the newest
}

// periods are those of Granularity.
var periods = []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 0}

// Look finds out what a replica holds, from the headers, page indexes and trailers of its
// files.
func Look(ctx context.Context, r *offline.Replica) (*Info, error) {
	var info *Info
	err := r.States.Current(ctx, func(t *database.Timeline) error {
		files, err := Files(ctx, r, t, AllLevels())
		if err == nil {
			info = look(t, files)
		}
		return err
	})
	return info, err
}

func look(t *database.Timeline, files []File) *Info {
	info := &Info{}
	for _, g := range t.Gaps() {
		info.Gaps = append(info.Gaps, Range{g[0], g[1]})
	}
	ends := map[ltx.TXID]*File{} // the one that tells of the state
	for i := range files {
		f := &files[i]
		info.addTo(f)
		if f.Err != nil {
			info.Damaged = append(info.Damaged, *f)
			continue
		}
		if other := ends[f.MaxTXID]; other == nil || tellsMore(f, other) {
			ends[f.MaxTXID] = f
		}
	}
	for i := range t.Len() {
		s := State{TXID: t.TXID(i)}
		if f := ends[s.TXID]; f != nil {
			s.Time, s.Size = f.Time(), int64(f.Header.PageSize)*int64(f.Header.Commit)
			info.PageSize = f.Header.PageSize
		}
		info.States = append(info.States, s)
	}
	info.Granularity = granularity(info.States)
	return info
}

// tellsMore reports whether a file tells more of the state at its end than another one: the
// earlier does, and a snapshot, which has the time when it was taken, less than any.
func tellsMore(f, other *File) bool {
	if snapshot := f.Level == replica.SnapshotLevel; snapshot != (other.Level == replica.SnapshotLevel) {
		return !snapshot
	}
	return f.Header.Timestamp < other.Header.Timestamp
}

func (info *Info) addTo(f *File) {
	n := len(info.Levels)
	if n == 0 || info.Levels[n-1].Level != f.Level {
		info.Levels = append(info.Levels, Level{Level: f.Level, Min: f.MinTXID, Oldest: f.Time(), Newest: f.Time()})
		n++
	}
	l := &info.Levels[n-1]
	l.Files++
	l.Size += f.Size
	if f.Err == nil {
		l.Pages += f.Pages
		l.Packed += f.Frames
		l.Unpacked += int64(f.Pages) * int64(f.Header.PageSize)
	}
	l.Min, l.Max = min(l.Min, f.MinTXID), max(l.Max, f.MaxTXID)
	if at := f.Time(); at.Before(l.Oldest) {
		l.Oldest = at
	} else if at.After(l.Newest) {
		l.Newest = at
	}
}

// granularity is how far apart states are, and how large, by how long before the last one
// they were.
func granularity(states []State) (all []Period) {
	timed := slices.DeleteFunc(slices.Clone(states), func(s State) bool { return s.Time.IsZero() })
	slices.SortStableFunc(timed, func(a, b State) int { return a.Time.Compare(b.Time) })
	slices.Reverse(timed) // the latest first
	begin := 0
	for _, within := range periods {
		p, apart := Period{Within: within}, []time.Duration(nil)
		for i := begin; i < len(timed) && (within == 0 || timed[0].Time.Sub(timed[i].Time) <= within); i++ {
			if p.Oldest = timed[i].Size; p.States == 0 {
				p.Newest = p.Oldest
			}
			if p.States++; i+1 < len(timed) {
				apart = append(apart, timed[i].Time.Sub(timed[i+1].Time))
			}
		}
		begin += p.States
		if slices.Sort(apart); len(apart) > 0 {
			p.Every, p.Most = apart[len(apart)/2], apart[len(apart)-1]
		}
		if p.States > 0 {
			all = append(all, p)
		}
	}
	return all
}
