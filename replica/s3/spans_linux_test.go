package s3

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// A level of the tests here has so many pages of so many files.
const (
	spansPages    = 100
	spansPageSize = 100
	spansFiles    = spansPages * spansPageSize
)

func newLevel() *s3test.Synthetic {
	s := s3test.NewSynthetic(spansFiles)
	s.PageSize = spansPageSize
	return s
}

// slow is a store that takes any page for a slow one.
func slow(tb testing.TB, a http.HandlerFunc, change ...func(*config.Config)) (*Store, *logBuffer) {
	tb.Helper()
	c, log := serve(tb, answers{"LIST": a}).logging(tb, change...)
	c.slowPage = 0
	return c, log
}

// ofGaps are names with so many TXIDs from each to the next.
func ofGaps(gap func(i int) int) func(i int) replica.Name {
	names := make([]replica.Name, spansFiles)
	at := ltx.TXID(1)
	for i := range names {
		names[i] = replica.Name{MinTXID: at, MaxTXID: at + ltx.TXID(i%3)}
		at += ltx.TXID(gap(i))
	}
	return func(i int) replica.Name { return names[i] }
}

func namesOf(files []replica.File) []replica.Name {
	names := make([]replica.Name, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return names
}

// requireNames compares long lists, and says of one difference.
func requireNames(t require.TestingT, want, got []replica.Name) {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			require.Equal(t, want[i], got[i], "the name in place %d", i)
		}
	}
	require.Equal(t, len(want), len(got), "how many names")
}

// requireListed lists a level, and returns how many pages were asked for, and how many of them somewhere.
func requireListed(t require.TestingT, c *Store, s *s3test.Synthetic, opts replica.ListOptions) (pages, spans int) {
	s.Pages()
	files, err := list(context.Background(), c, opts)
	require.NoError(t, err)
	requireNames(t, slices.DeleteFunc(s.Listed(), func(n replica.Name) bool { return n.MinTXID < opts.From }), namesOf(files))
	for _, p := range s.Pages() {
		if pages++; p.StartAfter != "" && p.StartAfter != testLevel0+opts.From.String() {
			spans++
		}
	}
	return pages, spans
}

// Files come in order and once, however they are spread, and few pages are asked for in vain.
func TestListSpans(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for name, tt := range map[string]struct {
		name  func(i int) replica.Name
		extra int // pages more than one after the other
	}{
		"a transaction each":      {s3test.Dense, maxSpans},
		"ten transactions each":   {ofGaps(func(int) int { return 10 }), maxSpans},
		"several from each TXID":  {func(i int) replica.Name { return replica.Name{MinTXID: ltx.TXID(i/10 + 1), MaxTXID: ltx.TXID(i + 1)} }, 2 * maxSpans},
		"some transactions each":  {ofGaps(func(int) int { return 1 + random.IntN(20) }), 2 * maxSpans},
		"a gap":                   {ofGaps(func(i int) int { return 1 + map[int]int{spansFiles / 2: 1 << 40}[i] }), 2 * maxSpans},
		"few first, many later":   {ofGaps(func(i int) int { return max(1, 1000-999*(i/(spansFiles/5))) }), 3 * maxSpans},
		"many first, few later":   {ofGaps(func(i int) int { return 1 + 999*(i/(spansFiles/5)) }), 3 * maxSpans},
		"many in the midst":       {ofGaps(func(i int) int { return max(1, 100-99*(i/(spansFiles/5)%4)) }), 3 * maxSpans},
		"further and further on":  {ofGaps(func(i int) int { return 1 + i*i/1000 }), 3 * maxSpans},
		"all from the same TXIDs": {func(i int) replica.Name { return replica.Name{MinTXID: 1, MaxTXID: ltx.TXID(i + 1)} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLevel()
			s.Name = tt.name
			c, log := slow(t, s.ServeHTTP)
			for _, from := range []ltx.TXID{0, 150} {
				pages, spans := requireListed(t, c, s, replica.ListOptions{From: from})
				require.LessOrEqual(t, pages, spansPages+tt.extra)
				if tt.extra > 0 {
					require.GreaterOrEqual(t, spans, spansPages/spanPages/2)
				}
			}
			require.Empty(t, log.String())
			require.LessOrEqual(t, s.AtOnce(), maxSpans)
		})
	}
}

// Only what takes long is listed in spans, and no more are asked for at a time than may be.
func TestListSpansWhere(t *testing.T) {
	for name, tt := range map[string]struct {
		files, atOnce int
		slow          time.Duration // a page that takes less is a fast one
		most          int
	}{
		"fast":           {spansFiles, 1, time.Hour, 50},
		"slow":           {spansFiles, maxSpans, slowPage, 50},
		"few pages":      {leastPages * spansPageSize, 1, slowPage, 50},
		"two at a time":  {20 * spansPageSize, 2, slowPage, 2},
		"one at a time":  {10 * spansPageSize, 1, slowPage, 1},
		"an empty level": {0, 1, slowPage, 50},
	} {
		t.Run(name, func(t *testing.T) {
			s := s3test.NewSynthetic(tt.files)
			s.PageSize, s.Delay = spansPageSize, slowPage
			c := serve(t, answers{"LIST": s.ServeHTTP}).store(t, func(c *config.Config) { c.MetadataConcurrency = tt.most })
			require.Equal(t, 30*time.Millisecond, c.slowPage)
			c.slowPage = tt.slow
			pages, spans := requireListed(t, c, s, replica.ListOptions{})
			require.LessOrEqual(t, s.AtOnce(), tt.atOnce)
			if tt.atOnce == 1 {
				require.Equal(t, max(1, tt.files/spansPageSize), pages)
				require.Zero(t, spans)
			} else {
				require.Positive(t, spans)
			}
		})
	}
}

// A level of a few pages more costs one or two in vain.
func TestListSpansShort(t *testing.T) {
	for pages := leastPages + 1; pages < 3*leastPages; pages++ {
		s := s3test.NewSynthetic(pages*spansPageSize - 1)
		s.PageSize = spansPageSize
		c, _ := slow(t, s.ServeHTTP)
		asked, _ := requireListed(t, c, s, replica.ListOptions{})
		require.LessOrEqual(t, asked, pages+pages/2-1)
	}
}

// requireNothingAhead fails the test if a listing that has ended has anything under way, or room that it doesn't use.
func requireNothingAhead(t *testing.T, c *Store) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	require.NotContains(t, string(stacks[:runtime.Stack(stacks, true)]), "(*spans).fill")
	require.True(t, c.pages.TryAcquire(maxAhead))
	c.pages.Release(maxAhead)
}

// All listings of a store together are no more than so many pages ahead, of which none keeps another from going on.
func TestListSpansBeside(t *testing.T) {
	const n = 5
	s := newLevel()
	c, _ := slow(t, s.ServeHTTP)
	var loops [n]func() (replica.File, error, bool)
	for i := range loops {
		next, stop := iter.Pull2(c.LTXFiles(t.Context(), 0, replica.ListOptions{}))
		defer stop()
		loops[i] = next
	}
	given := 0
	step := func() {
		for _, next := range loops {
			f, err, ok := next()
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, s3test.Dense(given), f.Name)
		}
		given++
	}
	for range leastPages*spansPageSize + 1 {
		step()
	}
	require.Eventually(t, func() bool {
		free := c.pages.TryAcquire(1)
		if free {
			c.pages.Release(1)
		}
		return !free
	}, 10*time.Second, time.Millisecond)
	// Each has been given one page of those after the first, and may have another one without a place.
	require.LessOrEqual(t, len(s.Pages()), n*(leastPages+2)+maxAhead)
	for given < spansFiles {
		step()
	}
	for _, next := range loops {
		_, _, ok := next()
		require.False(t, ok)
	}
	requireNothingAhead(t, c)
}

// A panic in a part is an error of the listing.
func TestListSpansPanics(t *testing.T) {
	s := newLevel()
	s.Strays = []string{fileName(spansFiles/2) + ".tmp"}
	c, _ := slow(t, s.ServeHTTP)
	files, err := list(t.Context(), c, replica.ListOptions{Stray: func(string) { panic("oh no") }})
	require.ErrorContains(t, err, "panic: oh no")
	requireNames(t, s.Listed()[:len(files)], namesOf(files))
	requireNothingAhead(t, c)
}

// An error comes where it is, after all files before it, and nothing is under way afterwards.
func TestListSpansErrors(t *testing.T) {
	for _, at := range []int{leastPages, 2 * leastPages, spansPages / 2, spansPages - 1} {
		s := newLevel()
		last := fileName(at*spansPageSize + 1)
		c, _ := slow(t, func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, r)
			if strings.Contains(rec.Body.String(), last) {
				refuse(403, "AccessDenied")(w, r)
				return
			}
			_, _ = w.Write(rec.Body.Bytes())
		})
		files, err := list(t.Context(), c, replica.ListOptions{})
		require.ErrorIs(t, err, os.ErrPermission)
		requireNames(t, s.Listed()[:len(files)], namesOf(files))
		require.LessOrEqual(t, len(files), at*spansPageSize)
		require.Greater(t, len(files), (at-2)*spansPageSize)
		requireNothingAhead(t, c)
	}
}

// A loop that ends early has cost what is listed ahead of it at the most, and leaves nothing under way.
func TestListSpansStoppedEarly(t *testing.T) {
	s := s3test.NewSynthetic(10 * spansFiles)
	s.PageSize = spansPageSize
	c, _ := slow(t, s.ServeHTTP)
	n := 0
	for _, err := range c.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
		require.NoError(t, err)
		if n++; n == spansFiles {
			break
		}
	}
	requireNothingAhead(t, c)
	require.LessOrEqual(t, len(s.Pages()), spansPages+maxAhead+maxSpans)
}

// Requests that hang end with the context.
func TestListSpansCancelled(t *testing.T) {
	s := newLevel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hanging atomic.Int32
	c, _ := slow(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("start-after") > fileKey(spansFiles/2) {
			if hanging.Add(1) == 2 {
				cancel()
			}
			hang(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
	files, err := list(ctx, c, replica.ListOptions{})
	require.ErrorIs(t, err, context.Canceled)
	requireNothingAhead(t, c)
	requireNames(t, s.Listed()[:len(files)], namesOf(files))
}

// What else is in the level is told once, wherever it is.
func TestListSpansStrays(t *testing.T) {
	s := newLevel()
	s.Strays = []string{"!"}
	for i := 0; i < spansFiles; i += 50 {
		s.Strays = append(s.Strays, fmt.Sprintf("%016x", i+1), fileName(i+1)+".tmp")
	}
	s.Strays = append(s.Strays, "z1", "z2")
	c, _ := slow(t, s.ServeHTTP)
	var mu sync.Mutex
	var strays []string
	_, spans := requireListed(t, c, s, replica.ListOptions{Stray: func(base string) {
		mu.Lock()
		defer mu.Unlock()
		strays = append(strays, base)
	}})
	require.Greater(t, spans, maxSpans)
	slices.Sort(strays)
	require.Equal(t, s.Strays, strays)
}

// Whatever the level, and what comes and goes meanwhile: files that stay are listed in order and once, and a store
// that is fit isn't taken for unfit.
func TestListSpansProperty(t *testing.T) {
	var level atomic.Pointer[s3test.Synthetic]
	c, log := slow(t, func(w http.ResponseWriter, r *http.Request) { level.Load().ServeHTTP(w, r) })
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 5).Draw(t, "gaps, by their bits")
		size := rapid.IntRange(2, 20).Draw(t, "files a page")
		n := size * rapid.IntRange(1, 60).Draw(t, "pages")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		names := make([]replica.Name, 2*n)
		at := replica.Name{MinTXID: 1, MaxTXID: 1}
		for i := range names {
			names[i] = at
			if gap := random.Int64N(1 << kinds[i*len(kinds)/len(names)]); gap > 0 {
				at.MinTXID += ltx.TXID(gap)
				at.MaxTXID = at.MinTXID
			} else {
				at.MaxTXID++
			}
		}
		s := s3test.NewSynthetic(n)
		s.PageSize, s.Name = size, func(i int) replica.Name { return names[i] }
		changes := rapid.Bool().Draw(t, "changes")
		changed := map[replica.Name]bool{} // come, gone, or to come
		var absent []int
		for i := range n {
			if changes && random.IntN(4) == 0 {
				changed[names[i]] = true
				absent = append(absent, i)
				s.Delete(i)
			}
		}
		var mu sync.Mutex
		s.Before = func(p s3test.SyntheticPage) bool {
			mu.Lock()
			defer mu.Unlock()
			if !changes || random.IntN(2) == 0 {
				return false
			}
			if i := random.IntN(n); random.IntN(2) == 0 {
				changed[names[i]] = true
				s.Delete(i)
			}
			// One comes where this page would have had it, so that only the page before shows it as the next.
			if j := sort.SearchInts(absent, p.First); j < len(absent) {
				s.Restore(absent[j])
				absent = slices.Delete(absent, j, j+1)
			}
			s.Add(random.IntN(2))
			return false
		}
		level.Store(s)
		files, err := list(context.Background(), c, replica.ListOptions{})
		require.NoError(t, err)
		got := namesOf(files)
		require.True(t, slices.IsSortedFunc(got, replica.Name.Compare))
		require.Len(t, slices.Compact(slices.Clone(got)), len(got))
		stay := func(all []replica.Name) []replica.Name {
			return slices.DeleteFunc(slices.Clone(all), func(name replica.Name) bool {
				return changed[name] || name.Compare(names[n-1]) > 0
			})
		}
		requireNames(t, stay(names[:n]), stay(got))
	})
	require.Empty(t, log.String())
}
