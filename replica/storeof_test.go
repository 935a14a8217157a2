package replica_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

var one = storetest.Name(0, 1, 1)

// What a client's methods tell is enough for a store, if for a weak one.
func TestStoreOfConforms(t *testing.T) {
	for _, uploadTimes := range []bool{false, true} {
		var m *mock.Store // of the test of the suite that runs
		storetest.Run(t, storetest.Harness{
			New: func(*testing.T) replica.Store {
				m = mock.New()
				m.ListUploadTimes(uploadTimes)
				return replica.StoreOf(mock.NewReplicaClient(m))
			},
			// Beneath it: to know what it wrote, a client lists the level for each file.
			Put: func(_ replica.Store, n replica.Name, data []byte) error {
				m.Put(n.Level, n.MinTXID, n.MaxTXID, data)
				return nil
			},
			Resources: func(replica.Store) int { return m.OpenReaders() + m.OpenListings() },
			LargeSize: 4 << 20,
			Weak:      true,
		})
	}
}

// And beside a client of files, which keeps more apart than a client can tell.
func TestStoreOfFileConforms(t *testing.T) {
	var beneath *file.Store // of the test of the suite that runs
	storetest.Run(t, storetest.Harness{
		New: func(t *testing.T) replica.Store {
			beneath = file.New(t.TempDir(), replica.LitestreamFile)
			return replica.StoreOf(file.NewReplicaClient(beneath))
		},
		Put: func(_ replica.Store, n replica.Name, data []byte) error {
			_, err := beneath.WriteLTXFile(context.Background(), n, bytes.NewReader(data), replica.WriteOptions{})
			return err
		},
		LargeSize: 4 << 20,
		Weak:      true,
	})
}

// The version that is read is looked for at the end of a body, once, whether that is
// its own end or Close.
func TestStoreOfChecksBodies(t *testing.T) {
	for _, toEnd := range []bool{true, false} {
		m := mock.New()
		s := replica.StoreOf(replica.ClientOf(m))
		m.Put(0, 1, 1, []byte("old"))
		f := storetest.List(t, s, 0)[0]
		for change, want := range map[string]error{"none": nil, "replaced": replica.ErrReplaced, "deleted": replica.ErrReplaced} {
			m.Put(0, 1, 1, []byte("old"))
			m.ResetCalls()
			r, err := s.OpenLTXFile(t.Context(), f, 0, 2)
			require.NoError(t, err)
			switch change {
			case "replaced":
				m.Put(0, 1, 1, []byte("newer"))
			case "deleted":
				m.Remove(0, 1, 1)
			}
			var got []byte
			if toEnd {
				got, err = io.ReadAll(r)
				require.ErrorIs(t, err, want)
			} else {
				got = make([]byte, 2)
				_, err = io.ReadFull(r, got)
				require.NoError(t, err)
			}
			assert.Equal(t, "ol", string(got))
			require.ErrorIs(t, r.Close(), want)
			assert.Equal(t, 1, m.Calls(mock.OpList))
		}

		// Without a version there is nothing to look for.
		m.Put(0, 1, 1, []byte("old"))
		m.ResetCalls()
		assert.Equal(t, "old", string(storetest.Read(t, s, replica.File{Name: f.Name}, 0, 0)))
		assert.Zero(t, m.Calls(mock.OpList))
	}
}

// A write that another follows at once is a success all the same, and returns no
// version of the other's.
func TestStoreOfWriteOvertaken(t *testing.T) {
	for name, overtake := range map[string]func(m *mock.Store){
		"replaced": func(m *mock.Store) { m.Put(0, 1, 1, []byte("another's")) },
		"deleted":  func(m *mock.Store) { m.Remove(0, 1, 1) },
	} {
		m := mock.New()
		s := replica.StoreOf(&overtaken{Client: replica.ClientOf(m), after: func() { overtake(m) }})
		f, err := s.WriteLTXFile(t.Context(), one, bytes.NewReader([]byte("mine")), replica.WriteOptions{})
		require.NoError(t, err, name)
		assert.Equal(t, int64(4), f.Size)
		assert.Equal(t, int64(4), f.Version.Size)
	}
	m := mock.New()
	s := replica.StoreOf(replica.ClientOf(m))
	m.Fail(mock.OpList, errBroken)
	_, err := s.WriteLTXFile(t.Context(), one, bytes.NewReader([]byte("mine")), replica.WriteOptions{})
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, "the file is there")
}

// overtaken is a client whose writes another's change follows.
type overtaken struct {
	replica.Client
	after func()
}

func (o *overtaken) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	defer o.after()
	return o.Client.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

// To find an exact time out costs reading that file's header, and what is known
// costs nothing.
func TestStoreOfExactTimes(t *testing.T) {
	m := mock.New()
	m.ListUploadTimes(true)
	for txid := ltx.TXID(1); txid <= 10; txid++ {
		m.Put(0, txid, txid, storetest.LTX(t, txid, txid))
	}
	s := replica.StoreOf(replica.ClientOf(m))
	for title, tt := range map[string]struct {
		known func(replica.File) bool
		opens int
	}{
		"none known":  {func(replica.File) bool { return false }, 10},
		"all known":   {func(replica.File) bool { return true }, 0},
		"some known":  {func(f replica.File) bool { return f.MinTXID <= 7 }, 3},
		"all but one": {func(f replica.File) bool { return f.MinTXID != 4 }, 1},
	} {
		m.ResetCalls()
		files := storetest.ListWith(t, s, 0, replica.ListOptions{ExactTimes: true, Known: func(f replica.File) (time.Time, bool) {
			return storetest.DefaultTime, tt.known(f)
		}})
		require.Len(t, files, 10, title)
		for _, f := range files {
			assert.True(t, storetest.DefaultTime.Equal(f.ModTime))
		}
		assert.Equal(t, tt.opens, m.Calls(mock.OpOpen), title)
	}
	m.ResetCalls()
	f, err := s.StatLTXFile(t.Context(), storetest.Name(0, 4, 4), replica.StatOptions{ExactTime: true})
	require.NoError(t, err)
	assert.True(t, storetest.DefaultTime.Equal(f.ModTime))
	assert.Equal(t, 1, m.Calls(mock.OpOpen))
}

// A file that vanishes takes none of the known ones after it out of a listing.
func TestStoreOfVanishing(t *testing.T) {
	m := mock.New()
	for txid := ltx.TXID(1); txid <= 4; txid++ {
		m.Put(0, txid, txid, storetest.LTX(t, txid, txid))
	}
	vanished := storetest.Name(0, 2, 2)
	m.FailFile(mock.OpOpen, vanished, os.ErrNotExist)
	files := storetest.ListWith(t, replica.StoreOf(replica.ClientOf(m)), 0, replica.ListOptions{
		ExactTimes: true,
		Known:      func(f replica.File) (time.Time, bool) { return f.ModTime, f.MinTXID > 2 },
	})
	require.Len(t, files, 3)
	for i, txid := range []ltx.TXID{1, 3, 4} {
		assert.Equal(t, storetest.Name(0, txid, txid), files[i].Name)
	}
}

// lister is a client that lists what it is made of, as it is.
type lister struct {
	replica.Client
	files []*ltx.FileInfo
}

func (l lister) LTXFiles(context.Context, int, ltx.TXID, bool) (ltx.FileIterator, error) {
	return ltx.NewFileInfoSliceIterator(l.files), nil
}

func TestStoreOfPassesOverStrangers(t *testing.T) {
	s := replica.StoreOf(lister{files: []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}, {MinTXID: 3, MaxTXID: 2}, {MinTXID: 4, MaxTXID: 4}}})
	files := storetest.List(t, s, 0)
	require.Len(t, files, 2)
	assert.Equal(t, one, files[0].Name)
	assert.Equal(t, storetest.Name(0, 4, 4), files[1].Name)
}

// plain is a client whose errors name nothing, as other people's do.
type plain struct{ replica.Client }

func (plain) OpenLTXFile(context.Context, int, ltx.TXID, ltx.TXID, int64, int64) (io.ReadCloser, error) {
	return nil, errBroken
}

func (plain) WriteLTXFile(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (*ltx.FileInfo, error) {
	return nil, errBroken
}

func TestStoreOfNamesErrors(t *testing.T) {
	s := replica.StoreOf(plain{replica.ClientOf(mock.New())})
	_, err := s.OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
	require.Equal(t, replica.NewFileError("open", one, errBroken), err)
	_, err = s.WriteLTXFile(t.Context(), one, bytes.NewReader(nil), replica.WriteOptions{})
	require.Equal(t, replica.NewFileError("write", one, errBroken), err)
	_, err = replica.StoreOf(replica.ClientOf(mock.New())).OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
	require.Equal(t, replica.NewFileError("open", one, os.ErrNotExist), err, "it was named twice")
}
