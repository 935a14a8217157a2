package integration

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// writeNumbered writes a snapshot of that many pages, each of which has its number in it.
func writeNumbered(t *testing.T, path string, pageSize, commit uint32) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	enc, err := ltx.NewEncoder(w)
	require.NoError(t, err)
	h := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit, MinTXID: 1, MaxTXID: 1,
		Timestamp: storetest.DefaultTime.UnixMilli(),
	}
	require.NoError(t, enc.EncodeHeader(h))
	page := make([]byte, pageSize)
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if pgno == h.LockPgno() {
			continue
		}
		binary.BigEndian.PutUint32(page[100:], pgno)
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			t.Fatal(err)
		}
	}
	require.NoError(t, enc.Close())
	require.NoError(t, w.Flush())
}

// requireNumbered checks some bytes of a state of writeNumbered, from a page on.
func requireNumbered(t *testing.T, f *ltxfstest.File, pageSize, pgno uint32, pages int) {
	t.Helper()
	data, err := f.ReadAt(int(pageSize)*pages, int64(pgno-1)*int64(pageSize))
	require.NoError(t, err)
	require.Len(t, data, int(pageSize)*pages)
	for i := range pages {
		want, at := pgno+uint32(i), data[i*int(pageSize):]
		if want == ltx.LockPgno(pageSize) {
			want = 0
		}
		if got := binary.BigEndian.Uint32(at[100:]); got != want {
			t.Fatalf("page %d has the number %d", pgno+uint32(i), got)
		}
	}
}

// A database of five million small pages fits into a small budget: its page map lies on
// disk.
func TestStateManyPages(t *testing.T) {
	t.Parallel()
	const pageSize, commit, budget = 512, 5_000_000, 16 << 20
	root := t.TempDir()
	snapshot := replica.Name{Level: 9, MinTXID: 1, MaxTXID: 1}
	writeNumbered(t, filepath.Join(root, ltxfstest.StorePath(9, snapshot.Base())), pageSize, commit)
	m := ltxfstest.Mount(t, root, "--cache-size=16MiB")
	p := m.Process(t)
	f, err := p.Open("db/latest.db", unix.O_RDONLY, 0)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		requireNumbered(t, f, pageSize, 1+rng.Uint32N(commit), 1)
	}
	const at = 1 << 20 / pageSize
	for i := range uint32(64) {
		requireNumbered(t, f, pageSize, 2_000_000+i*at, at)
	}
	require.NoError(t, f.Close())
	require.LessOrEqual(t, m.Memory(t), int64(budget+64<<20), "resident memory")
}

// Many states that are open at once, each of hundreds of files, share what is known of these.
func TestStatesOfManyFiles(t *testing.T) {
	t.Parallel()
	const states, pageSize, budget = 1000, 4096, 4 << 20
	root := t.TempDir()
	h := storetest.NewHistory(t, 1, pageSize)
	h.Put = func(n replica.Name, data []byte) {
		path := filepath.Join(root, ltxfstest.StorePath(n.Level, n.Base()))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	for range states {
		h.Commit(300, 2)
	}
	m := ltxfstest.Mount(t, root, "--cache-size=4MiB", "--db-bytes=exact")
	p := m.Process(t)
	var open []*ltxfstest.File
	for i := range states {
		// Neither in order nor near each other.
		txid := ltx.TXID(i*7%states + 1)
		f, err := p.Open(fmt.Sprintf("db/at/%s.db", txid), unix.O_RDONLY, 0)
		require.NoError(t, err)
		open = append(open, f)
		page := int64(i*11) % 300
		data, err := f.ReadAt(pageSize, page*pageSize)
		require.NoError(t, err)
		require.Equal(t, h.File(txid)[page*pageSize:][:pageSize], data, "state %s, page %d", txid, page+1)
	}
	require.LessOrEqual(t, m.Memory(t), int64(budget+64<<20), "resident memory")
	for _, f := range open {
		require.NoError(t, f.Close())
	}
}

// The lock page, at 1 GiB, is zeros, in a database that ends before it, with it, or
// behind it.
func TestStateLockPage(t *testing.T) {
	t.Parallel()
	const pageSize = 65536
	lock := ltx.LockPgno(pageSize)
	for _, commit := range []uint32{lock - 1, lock, lock + 3} {
		root := t.TempDir()
		writeNumbered(t, filepath.Join(root, ltxfstest.StorePath(9, ltx.FormatFilename(1, 1))), pageSize, commit)
		m := ltxfstest.Mount(t, root)
		p := m.Process(t)
		st, err := p.Stat("db/at/0000000000000001.db")
		require.NoError(t, err)
		require.Equal(t, int64(commit)*pageSize, st.Size)
		f, err := p.Open("db/latest.db", unix.O_RDONLY, 0)
		require.NoError(t, err)
		requireNumbered(t, f, pageSize, 1, 20)
		requireNumbered(t, f, pageSize, commit-6, 7)
		require.NoError(t, f.Close())
	}
}
