package audit

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/integrity"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// history is transactions 1 to 6 in level 0, 2 and 3 in level 1, and a snapshot of the fourth.
func history(t *testing.T) (*storetest.History, *mock.Store) {
	store, h := mock.New(), storetest.NewHistory(t, 1, 4096)
	h.Put = func(n replica.Name, data []byte) { store.Put(n.Level, n.MinTXID, n.MaxTXID, data) }
	h.Remove = func(n replica.Name) { store.Remove(n.Level, n.MinTXID, n.MaxTXID) }
	for range 6 {
		h.Commit(40, 3)
	}
	h.Compact(1, 2, 3)
	h.Snapshot(4)
	return h, store
}

func verifyStore(t *testing.T, store *mock.Store, change ...func(*Options)) (report *Report, found []string, err error) {
	t.Helper()
	opts := Options{Levels: AllLevels(), Check: integrity.None, Begin: func(int, int64) {}, Done: func(int, int64) {}}
	opts.Found = func(f *Finding) { found = append(found, fmt.Sprint(f.Code, " ", f.File, f.Lost, f.Doubtful)) }
	for _, c := range change {
		c(&opts)
	}
	r := offline.New(replicas.NewOpener(settings.New()), &replicas.Opened{Store: store}, "replica", "id", 8<<20, nil, slog.New(slog.DiscardHandler))
	report, err = Verify(t.Context(), r, opts)
	return report, found, err
}

var (
	second   = replica.Name{Level: 0, MinTXID: 2, MaxTXID: 2}
	fifth    = replica.Name{Level: 0, MinTXID: 5, MaxTXID: 5}
	snapshot = replica.Name{Level: 9, MinTXID: 1, MaxTXID: 4}
)

// A file that is gone is listed anew, and what was read isn't read again, nor is an error told
// that the next pass doesn't meet.
func TestVerifyGone(t *testing.T) {
	_, store := history(t)
	store.Inject(mock.Fault{Op: mock.OpOpen, File: &second, Err: os.ErrNotExist, Times: 1})
	store.Inject(mock.Fault{Op: mock.OpOpen, File: &fifth, Err: syscall.EIO, Times: 1})
	report, found, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, ltx.TXID(6), report.Proven.TXID)
	require.Equal(t, 1, store.CallsFor(mock.OpOpen, snapshot))
}

// What can't be read is an open question, and after three of them the others aren't asked for.
func TestVerifyUnread(t *testing.T) {
	_, store := history(t)
	store.FailFile(mock.OpOpen, fifth, syscall.EIO)
	report, found, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Equal(t, []string{"unread ltx/0000/0000000000000005-0000000000000005.ltx[] []"}, found)
	require.Equal(t, ltx.TXID(4), report.Proven.TXID)
	require.Equal(t, 8, report.Stages[1].Of)
	require.Equal(t, 7, report.Stages[1].Done)

	store.Fail(mock.OpOpen, syscall.EIO)
	report, found, err = verifyStore(t, store)
	require.ErrorContains(t, err, "can't be read")
	require.GreaterOrEqual(t, len(found), maxUnread)
	require.Equal(t, 6, report.States)
	require.Equal(t, ltx.TXID(6), report.Newest.TXID)
	require.Nil(t, report.Proven)
	require.Empty(t, report.Lost)

	_, _, err = verifyStore(t, store, func(o *Options) { store.Fail(mock.OpList, syscall.EIO) })
	require.ErrorIs(t, err, syscall.EIO)
}

// What is damaged is told, though others can't be read.
func TestVerifyUnreadAndDamaged(t *testing.T) {
	h, store := history(t)
	h.Put(snapshot, incomplete(t, h.Files[snapshot]))
	store.FailFile(mock.OpOpen, second, syscall.EIO)
	store.FailFile(mock.OpOpen, fifth, syscall.EIO)
	begun := make(chan struct{}) // what was begun before the third fails is read
	store.Inject(mock.Fault{Op: mock.OpOpen, File: &replica.Name{Level: 0, MinTXID: 1, MaxTXID: 1}, Wait: begun, Err: syscall.EIO})
	go func() {
		defer close(begun)
		assert.Eventually(t, func() bool { return store.CallsFor(mock.OpOpen, snapshot) > 0 }, time.Minute, time.Millisecond)
	}()
	report, found, err := verifyStore(t, store)
	require.Error(t, err)
	require.Contains(t, found, "snapshot-pages ltx/0009/0000000000000001-0000000000000004.ltx[0000000000000004] []")
	require.Equal(t, []Range{{4, 4}}, report.Lost)
}

// A state that may be one thing or another isn't proven.
func TestVerifyConflict(t *testing.T) {
	h, store := history(t)
	f := storetest.Take(t, h.Files[replica.Name{Level: 0, MinTXID: 6, MaxTXID: 6}])
	f.Frames = f.Frames[1:]
	store.Put(2, 6, 6, f.Bytes())
	report, found, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Equal(t, []string{"conflict ltx/0002/0000000000000006-0000000000000006.ltx[] [0000000000000006]"}, found)
	require.Equal(t, ltx.TXID(5), report.Proven.TXID)
}

// A file that lacks a page of those that it was made of makes doubtful what was made of it too.
func TestVerifyCompactions(t *testing.T) {
	h, store := history(t)
	third := replica.Name{Level: 1, MinTXID: 2, MaxTXID: 3}
	h.Put(replica.Name{Level: 2, MinTXID: 2, MaxTXID: 3}, h.Files[third])
	only := func(n, other replica.Name) (data []byte) { // without a page that the other doesn't have either
		f, o := storetest.Take(t, h.Files[n]), storetest.Take(t, h.Files[other])
		has := func(pgno uint32) bool {
			return slices.ContainsFunc(o.Frames, func(fr storetest.ForgedFrame) bool { return fr.Pgno == pgno })
		}
		i := slices.IndexFunc(f.Frames, func(fr storetest.ForgedFrame) bool { return !has(fr.Pgno) })
		require.GreaterOrEqual(t, i, 0)
		f.Frames = slices.Delete(f.Frames, i, i+1)
		return f.Bytes()
	}
	whole := h.Files[third]
	h.Put(third, only(third, second))
	report, found, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Contains(t, found[1], "conflict ltx/0001/0000000000000002-0000000000000003.ltx")
	require.Equal(t, ltx.TXID(6), report.Proven.TXID, "from the snapshot")
	require.Contains(t, fmt.Sprint(found), "[0000000000000003]")

	store.Remove(2, 2, 3)
	h.Put(third, whole)
	h.Put(second, only(second, replica.Name{Level: 0, MinTXID: 3, MaxTXID: 3}))
	_, found, err = verifyStore(t, store)
	require.NoError(t, err)
	require.Equal(t, []string{"conflict ltx/0000/0000000000000002-0000000000000002.ltx[] [0000000000000002]"}, found)
}

// What other files have of lost states can be restored once those that cost them are moved.
func TestVerifyMovable(t *testing.T) {
	h, store := history(t)
	good := h.Files[snapshot]
	for what, data := range map[string][]byte{"cut": good[:len(good)/2], "incomplete": incomplete(t, good)} {
		h.Put(snapshot, data)
		report, found, err := verifyStore(t, store)
		require.NoError(t, err, what)
		require.Len(t, found, 1, what)
		require.Equal(t, []Range{{4, 6}}, report.Lost, what)
		require.Equal(t, []Range{{4, 6}}, report.Movable, what)
		require.Equal(t, ltx.TXID(3), report.Proven.TXID, what)
	}
	h.Remove(second) // which the file in level 1 has as well
	h.Remove(replica.Name{Level: 1, MinTXID: 2, MaxTXID: 3})
	report, _, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Equal(t, []Range{{4, 6}}, report.Lost)
	require.Empty(t, report.Movable)
}

// incomplete is a snapshot without a page that no later file has, made whole.
func incomplete(t *testing.T, data []byte) []byte {
	f := storetest.Take(t, data)
	f.Frames = slices.Delete(f.Frames, 38, 40)
	return f.Bytes()
}

// Parts of a subset are all files together, each in one.
func TestSubset(t *testing.T) {
	var files []replica.File
	for txid := ltx.TXID(1); txid <= 500; txid++ {
		files = append(files, replica.File{Name: replica.Name{MinTXID: txid, MaxTXID: txid}, Size: 1000})
	}
	count := func(text string) (picked map[replica.Name]bool, n int) {
		s, err := ParseSubset(text)
		require.NoError(t, err)
		picked = s.pick(files)
		for _, is := range picked {
			if is {
				n++
			}
		}
		return picked, n
	}
	times := map[replica.Name]int{}
	for i := range 7 {
		picked, n := count(fmt.Sprintf("%d/7", i+1))
		require.Greater(t, n, 30)
		for name, is := range picked {
			if is {
				times[name]++
			}
		}
	}
	for _, f := range files {
		require.Equal(t, 1, times[f.Name])
	}
	for text, want := range map[string]int{"10%": 50, "100%": 500, "0.1%": 1, "100kB": 100, "1MiB": 500, "10B": 0} {
		_, n := count(text)
		require.Equal(t, want, n, text)
	}
	for _, bad := range []string{"", "0/7", "8/7", "1/0", "-1/7", "1/7/8", "0%", "101%", "NaN%", "x%", "0", "5XB", "-1GiB"} {
		_, err := ParseSubset(bad)
		require.Error(t, err, bad)
	}
}

// A file of many parts is verified as one.
func TestVerifyParts(t *testing.T) {
	store := mock.New()
	data := storetest.LTX(t, 1, 1, storetest.PageSize(65536), storetest.Commit(5*partSize/2/65536), storetest.Noise())
	store.Put(9, 1, 1, data)
	report, found, err := verifyStore(t, store)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, ltx.TXID(1), report.Proven.TXID)
	bad := bytes.Clone(data)
	bad[len(bad)/2] ^= 1
	store.Put(9, 1, 1, bad)
	_, found, err = verifyStore(t, store)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "[0000000000000001]")
}
