package remote

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// What a mount asks for by the minute, of which a day has 1,440: nothing, as long as nobody uses it, or has a file open; and what is
// looked at costs a listing or a look-up, and its content nothing again. SIGHUP stands for a minute, after which
// what is listed is too old; and no freshness interval for one, after which the kernel has forgotten a name.
func TestDayBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		name := ltx.FormatFilename(1, 1)
		for _, row := range []struct {
			what    string
			open    string // meanwhile
			fresh   string // the freshness interval
			command string // each minute
			first   costs
			each    costs
		}{
			{what: "an idle mount"},
			{what: "a file, read each minute", fresh: "0s", command: "cat $1/ltx/0000/" + name, first: costs{s3test.HeadObject: 1, s3test.GetObject: 1}, each: costs{s3test.HeadObject: 1}},
			{what: "a level, listed each minute", command: "ls -l $1/ltx/0000", first: costs{s3test.ListObjects: 1}, each: costs{s3test.ListObjects: 1}},
			{what: "an open database", open: "db/latest.db"},
			{what: "latest.db, looked up each minute", command: "readlink $1/db/latest.db", first: levelsListed, each: levelsListed},
		} {
			m := ltxfstest.MountWith(t, c.proxy.URL(c.bucket, countedPath), ltxfstest.MountOptions{
				Flags: []string{"--freshness=" + cmp.Or(row.fresh, "10m")}, Env: c.env(),
			})
			p := m.Process(t)
			if row.open != "" {
				f, err := p.Open(row.open, unix.O_RDONLY, 0)
				require.NoError(t, err)
				_, err = f.ReadAt(4096, 0)
				require.NoError(t, err)
			}
			for i := range 4 {
				m.Signal(t, syscall.SIGHUP)
				ltxfstest.Eventually(t, ltxfstest.Timeout, "the listings are dropped", func() bool {
					return strings.Count(m.Log(), "dropped all listings") == i+1
				})
				want := sum(row.each)
				if i == 0 {
					want = sum(row.first)
				}
				c.requireCosts(t, fmt.Sprintf("%s, minute %d", row.what, i), want, func() {
					if row.command != "" {
						ltxfstest.Shell(t, row.command, m.Dir)
					}
				})
			}
			p.Close()
			c.requireEndForFree(t, m)
		}
	})
}

// With --refresh=new, a listing asks for what comes after the last file, and for all of the level by the interval, on demand, or where
// something is seen to be wrong with it.
func TestRefreshNewBudget(t *testing.T) {
	t.Parallel()
	const files = 2500
	s := s3test.NewSynthetic(files)
	m := ltxfstest.MountWith(t, s.Start(t), ltxfstest.MountOptions{
		Flags: []string{"--freshness=0s", "--refresh=new", "--refresh-all=1h"}, Env: s.Env(),
	})
	list := func(want int, startAfter ...string) {
		t.Helper()
		s.Pages()
		out, err := exec.Command("find", m.Path("ltx", "0000"), "-type", "f").Output()
		require.NoError(t, err)
		require.Len(t, ltxfstest.Lines(string(out)), want)
		var asked []string
		for _, p := range s.Pages() {
			asked = append(asked, p.StartAfter)
		}
		require.Equal(t, startAfter, asked)
	}
	after := func(i int) string { return "db/0000/" + s3test.Dense(i).MinTXID.String() }
	list(files, "", "", "")
	list(files, after(files-1))
	s.Add(3)
	list(files+3, after(files-1))
	s.Delete(7)
	list(files+3, after(files+2))
	s.Delete(files + 2)
	list(files+1, after(files+2), "", "", "")
	s.Delete(8)
	list(files+1, after(files+1))
	_, err := os.Lstat(m.Path("ltx", "0000", s3test.Dense(8).Base()))
	require.ErrorIs(t, err, os.ErrNotExist)
	list(files, "", "", "")
	s.Delete(9)
	list(files, after(files+1))
	m.Signal(t, syscall.SIGHUP)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the listings are dropped", func() bool {
		out, err := exec.Command("find", m.Path("ltx", "0000"), "-type", "f").Output()
		return err == nil && len(ltxfstest.Lines(string(out))) == files-1
	})
	list(files-1, after(files+1))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}
