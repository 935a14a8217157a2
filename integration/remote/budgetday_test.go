package remote

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// minute stands for a minute in the tests of what a day costs: it is longer than the freshness interval, as a minute is.
const (
	minute          = 300 * time.Millisecond
	minuteFreshness = 100 * time.Millisecond
)

// What a mount asks for by the minute, of which a day has 1,440: nothing, as long as nobody uses it, or has a file open; and what is
// looked at costs a listing or a look-up, and its content nothing again.
func TestDayBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		name := ltx.FormatFilename(1, 1)
		for _, row := range []struct {
			what    string
			open    string // meanwhile
			command string // each minute
			first   costs
			each    costs
		}{
			{what: "an idle mount"},
			{what: "a file, read each minute", command: "cat $1/ltx/0000/" + name, first: costs{s3test.HeadObject: 1, s3test.GetObject: 1}, each: costs{s3test.HeadObject: 1}},
			{what: "a level, listed each minute", command: "ls -l $1/ltx/0000", first: costs{s3test.ListObjects: 1}, each: costs{s3test.ListObjects: 1}},
			{what: "an open database", open: "db/latest.db"},
			{what: "latest.db, looked up each minute", command: "readlink $1/db/latest.db", first: levelsListed, each: levelsListed},
		} {
			m := ltxfstest.MountWith(t, c.proxy.URL(c.bucket, countedPath), ltxfstest.MountOptions{
				Flags: []string{"--freshness=" + minuteFreshness.String()}, Env: c.server.Env(),
			})
			p := m.Process(t)
			if row.open != "" {
				f, err := p.Open(row.open, unix.O_RDONLY, 0)
				require.NoError(t, err)
				_, err = f.ReadAt(4096, 0)
				require.NoError(t, err)
			}
			for i := range 4 {
				want := sum(row.each)
				if i == 0 {
					want = sum(row.first)
				}
				c.requireCosts(t, fmt.Sprintf("%s, minute %d", row.what, i), want, func() {
					time.Sleep(minute)
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

// With --refresh=new, a listing asks for what comes after the last file, and for all of the level by the interval, or on demand.
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
	m.Signal(t, syscall.SIGHUP)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the listings are dropped", func() bool {
		out, err := exec.Command("find", m.Path("ltx", "0000"), "-type", "f").Output()
		return err == nil && len(ltxfstest.Lines(string(out))) == files+2
	})
	list(files+2, after(files+2))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}
