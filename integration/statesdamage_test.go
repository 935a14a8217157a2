package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What is missing or damaged in a replica is an error for what needs it, and the rest
// can be read. Each replica has six transactions, of which the third is damaged: it
// adds a page.
func TestStatesDamaged(t *testing.T) {
	t.Parallel()
	const pageSize, pages = 4096, 40
	third := replica.Name{MinTXID: 3, MaxTXID: 3}
	for name, c := range map[string]struct {
		damage   func(h *storetest.History)
		readable ltx.TXID // the last state that can be read whole
		states   ltx.TXID // that are listed
		stat     error    // of the next one
		open     error
		page     uint32 // which can't be read in it
		log      string
	}{
		"a gap": {
			damage:   func(h *storetest.History) { h.Remove(third) },
			readable: 2, states: 2, stat: syscall.ENOENT,
			log: `level=WARN msg="no file has these transactions.*from=0000000000000003 to=0000000000000003 "last restorable"=0000000000000002`,
		},
		"an empty file": {
			damage:   func(h *storetest.History) { h.Put(third, nil) },
			readable: 2, states: 6, stat: syscall.EIO, log: `level=ERROR .*file=db/at/0000000000000003.db.*less than a header`,
		},
		"a cut file": {
			damage:   func(h *storetest.History) { h.Put(third, h.Files[third][:len(h.Files[third])/2]) },
			readable: 2, states: 6, open: syscall.EIO, log: `level=ERROR msg="can't open" file=db/at/0000000000000003.db.*damaged`,
		},
		"a corrupt frame": {
			damage: func(h *storetest.History) {
				data := bytes.Clone(h.Files[third])
				data[ltx.HeaderSize+ltx.PageHeaderSize+4] ^= 0xff // of page 1
				data[ltx.HeaderSize+3] ^= 1                       // its number
				h.Put(third, data)
			},
			readable: 2, states: 6, page: 1, log: `level=ERROR msg="can't read" file=db/at/0000000000000003.db.*damaged`,
		},
		"a page that no file has": {
			damage: func(h *storetest.History) {
				h.Put(third, h.Encode(3, 3, h.At(3).Time, func(pgno uint32) bool { return pgno == 1 }))
			},
			readable: 2, states: 6, page: pages + 1, log: `level=ERROR msg="can't read" file=db/at/0000000000000003.db.*page 41 of 41`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			at := func(n replica.Name) string { return filepath.Join(root, ltxfstest.StorePath(n.Level, n.Base())) }
			h := storetest.NewHistory(t, 1, pageSize)
			h.Put = func(n replica.Name, data []byte) {
				require.NoError(t, os.MkdirAll(filepath.Dir(at(n)), 0o755))
				require.NoError(t, os.WriteFile(at(n), data, 0o644))
			}
			h.Remove = func(n replica.Name) { require.NoError(t, os.Remove(at(n))) }
			for txid := range ltx.TXID(6) {
				size := uint32(pages)
				if txid >= 2 {
					size++
				}
				h.Commit(size, 0) // page 1 alone, but for what is new
			}
			c.damage(h)
			m := ltxfstest.Mount(t, root, "--db-bytes=exact")
			p := m.Process(t)

			names, err := p.ReadDir("db/at")
			require.NoError(t, err)
			require.Len(t, names, int(c.states))
			path := func(txid ltx.TXID) string { return "db/at/" + txid.String() + ".db" }
			for txid := ltx.TXID(1); txid <= c.readable; txid++ {
				data, err := p.ReadFile(path(txid))
				require.NoError(t, err)
				require.Equal(t, h.File(txid), data, "state %s", txid)
			}

			next := c.readable + 1
			st, err := p.Stat(path(next))
			if c.stat != nil {
				require.Equal(t, c.stat, err)
			} else {
				require.NoError(t, err)
				require.Equal(t, int64((pages+1)*pageSize), st.Size)
				f, err := p.Open(path(next), unix.O_RDONLY|unix.O_DIRECT, 0)
				if c.open != nil {
					require.Equal(t, c.open, err)
				} else {
					require.NoError(t, err)
					for pgno := uint32(1); pgno <= pages+1; pgno++ {
						data, err := f.ReadAt(pageSize, int64(pgno-1)*pageSize)
						if pgno == c.page {
							require.Equal(t, syscall.EIO, err)
							continue
						}
						require.NoError(t, err)
						require.Equal(t, h.At(next).Pages[pgno], data, "page %d", pgno)
					}
					require.NoError(t, f.Close())
				}
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			require.Regexp(t, c.log, m.Log())
		})
	}
}
