package remote

import (
	"bufio"
	"fmt"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/stretchr/testify/require"
)

// largeFiles are those of a level of a hundred pages.
const largeFiles = 100_000

// requireNumbered checks that names are those of the first files, in order.
func requireNumbered(t *testing.T, names []string) {
	t.Helper()
	for i, name := range names {
		if want := s3test.Dense(i).Base(); name != want {
			t.Fatalf("name %d is %s and not %s", i, name, want)
		}
	}
}

// A large level of a store that is slow is listed many pages at a time, with hardly a page in vain.
func TestLargeListingBudget(t *testing.T) {
	t.Parallel()
	s := s3test.NewSynthetic(largeFiles)
	s.Delay = 30 * time.Millisecond
	m := ltxfstest.MountWith(t, s.Start(t), ltxfstest.MountOptions{Flags: []string{"--freshness=10m"}, Env: s.Env()})
	p := m.Process(t)
	s.Pages()
	names, err := p.ReadDir("ltx/0000")
	require.NoError(t, err)
	require.Len(t, names, largeFiles)
	requireNumbered(t, names)
	pages := len(s.Pages())
	require.Greater(t, s.AtOnce(), 1)
	require.GreaterOrEqual(t, pages, largeFiles/1000)
	require.LessOrEqual(t, pages, largeFiles/1000+15)
	p.Close()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// The first names are there before the store has answered the last page, and if it doesn't, reading the directory
// fails in that place.
func TestFirstEntriesBeforeTheLastPage(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprint("refused: ", refused), func(t *testing.T) {
			t.Parallel()
			s := s3test.NewSynthetic(largeFiles)
			goOn := make(chan struct{})
			var answered atomic.Bool
			s.Before = func(p s3test.SyntheticPage) bool {
				if !p.Last {
					return false
				}
				<-goOn
				answered.Store(true)
				return refused
			}
			m := ltxfstest.MountWith(t, s.Start(t), ltxfstest.MountOptions{Env: s.Env()})
			ls := exec.CommandContext(t.Context(), "ls", "-f", m.Path("ltx", "0000"))
			stdout, err := ls.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, ls.Start())
			var names []string
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				if names = append(names, lines.Text()); len(names) == largeFiles/2 {
					require.False(t, answered.Load(), "the last page has been answered")
					close(goOn)
				}
			}
			err = ls.Wait()
			require.Equal(t, []string{".", ".."}, names[:2])
			requireNumbered(t, names[2:])
			if refused {
				require.Error(t, err)
				require.Greater(t, len(names), largeFiles-3000)
				require.Less(t, len(names), largeFiles)
			} else {
				require.NoError(t, err)
				require.Len(t, names[2:], largeFiles)
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}
