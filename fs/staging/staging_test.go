package staging

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

func TestPlace(t *testing.T) {
	at := PlaceOf(replica.Name{Level: 9, MinTXID: 1, MaxTXID: 0x1f})
	assert.Equal(t, "ltx/0009/0000000000000001-000000000000001f.ltx", at.String())
	got, ok := at.LTX()
	assert.True(t, ok)
	assert.Equal(t, replica.Name{Level: 9, MinTXID: 1, MaxTXID: 0x1f}, got)
	_, ok = Place{0, "upload.tmp"}.LTX()
	assert.False(t, ok)
	assert.Equal(t, "ltx/0009", Place{Level: 9}.String())
}

// TestCreate: a name is given to one file, which has what it was made with.
func TestCreate(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Root, o.UID, o.GID = "orders", 12, 34 })
	before := r.Changed(0)
	a := r.write("a", []byte("abc"))
	_, _, err := r.Create(Place{0, "a"}, CreateOptions{})
	require.ErrorIs(t, err, ErrTaken)
	b, _, err := r.Create(Place{1, "a"}, CreateOptions{})
	require.NoError(t, err)
	b.Release()
	assert.NotEqual(t, a.ID, b.ID)
	assert.Same(t, a, r.At(Place{0, "a"}))
	assert.Nil(t, r.At(Place{0, "b"}))
	assert.Equal(t, []Listed{{"a", a.ID}}, r.Level(0))
	assert.True(t, r.Changed(0).After(before))
	r.requireStaged("orders/ltx/0000/a", "orders/ltx/0001/a")

	st, err := a.Stat()
	require.NoError(t, err)
	assert.EqualValues(t, syscall.S_IFREG|0o600, st.Mode)
	assert.EqualValues(t, 12, st.Uid)
	assert.EqualValues(t, 34, st.Gid)
	assert.EqualValues(t, 1, st.Nlink)
	assert.EqualValues(t, 3, st.Size)
}

// TestAttributes: what a tool sets, it finds again.
func TestAttributes(t *testing.T) {
	r := newRig(t)
	s := r.write("a", nil)
	s.SetAttr(func(a *Attr) { a.Mode, a.UID = 0o640, 7 })
	mtime := unix.Timespec{Sec: 1234567890, Nsec: 5}
	require.NoError(t, s.SetTimes(unix.Timespec{Nsec: unix.UTIME_OMIT}, mtime))
	st, err := s.Stat()
	require.NoError(t, err)
	assert.EqualValues(t, syscall.S_IFREG|0o640, st.Mode)
	assert.EqualValues(t, 7, st.Uid)
	assert.Equal(t, syscall.Timespec{Sec: 1234567890, Nsec: 5}, st.Mtim)
	assert.Equal(t, mtime.Nano(), r.Unpublished()[0].ModTime.UnixNano())
}

// TestRenameOver: the file that had the name is gone, but for who has it open.
func TestRenameOver(t *testing.T) {
	r := newRig(t)
	a, b := r.write("a", []byte("new")), r.write("b", []byte("old"))
	old, err := b.Open()
	require.NoError(t, err)
	require.NoError(t, a.Rename(t.Context(), Place{3, "c"}))
	require.NoError(t, a.Rename(t.Context(), Place{0, "b"}))
	require.NoError(t, a.Rename(t.Context(), Place{0, "b"}), "its own name")
	r.requireStaged("ltx/0000/b")
	assert.Equal(t, "new", r.content(a))
	got := make([]byte, 3)
	_, err = old.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))
	st, err := b.Stat()
	require.NoError(t, err)
	assert.Zero(t, st.Nlink)
	require.ErrorIs(t, b.Rename(t.Context(), Place{0, "d"}), ErrUnlinked)
	b.Release()
	_, err = b.Open()
	require.ErrorIs(t, err, os.ErrClosed)
	st, err = b.Stat()
	require.NoError(t, err, "a removed file's attributes are those it had")
	assert.EqualValues(t, 3, st.Size)
}

// TestRemove: a name goes at once, the content with the last handle.
func TestRemove(t *testing.T) {
	r := newRig(t)
	s := r.write("a", []byte("abc"))
	f, err := s.Open()
	require.NoError(t, err)
	require.NoError(t, s.Remove(t.Context()))
	require.ErrorIs(t, s.Remove(t.Context()), ErrUnlinked)
	require.ErrorIs(t, s.Remove(t.Context()), os.ErrNotExist)
	r.requireStaged()
	assert.Empty(t, r.Level(0))
	again := r.write("a", []byte("other"))
	assert.NotEqual(t, s.ID, again.ID)
	got := make([]byte, 3)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(got))
	s.Release()
	r.requireStaged("ltx/0000/a")
}

// TestReplacement: the emptied copy of a published file is the user's once
// somebody has written to it.
func TestReplacement(t *testing.T) {
	at := Place{0, base(1)}
	t.Run("nobody comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			require.NoError(t, r.Replace(at))
			time.Sleep(replacementGrace / 2)
			require.NoError(t, r.Replace(at))
			r.requireStaged()
			time.Sleep(replacementGrace/2 + time.Second)
			require.NotNil(t, r.At(at), "the second open is still awaited")
			time.Sleep(replacementGrace)
			require.Nil(t, r.At(at))
			require.NoFileExists(t, r.opts.Dir.FilePath(at.String()))
		})
	})
	t.Run("a reader comes first", func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, r.Replace(at))
		s := r.At(at)
		_, err := s.Open()
		require.NoError(t, err)
		s.Release()
		require.Same(t, s, r.At(at))
		_, err = s.Open()
		require.NoError(t, err)
		require.NoError(t, s.Empty(t.Context()))
		s.Release()
		require.Nil(t, r.At(at), "closed as empty as it was")
	})
	t.Run("it is written", func(t *testing.T) {
		r := newRig(t)
		r.store.Put(0, 1, 1, file(t, 1, 1))
		require.NoError(t, r.Replace(at))
		s := r.At(at)
		f, err := s.Open()
		require.NoError(t, err)
		require.NoError(t, s.Empty(t.Context()))
		require.NoError(t, s.Change(t.Context(), func() error { _, err := f.WriteAt(file(t, 1, 2), 0); return err }))
		r.requireStaged(inTree(1))
		require.NoError(t, s.Publish(t.Context(), true))
		s.Release()
		r.requirePublished(1, file(t, 1, 2))
		r.requireStaged()

		require.NoError(t, s.ReplaceAgain(), "an open that came too late for it")
		again := r.At(at)
		require.NotNil(t, again)
		require.NotSame(t, s, again)
	})
	t.Run("it was published under another name", func(t *testing.T) {
		r := newRig(t)
		s := r.write("a", file(t, 1, 1))
		require.NoError(t, s.PublishAs(t.Context(), name(1), false))
		require.NoError(t, s.ReplaceAgain())
		require.Nil(t, r.At(at))
		require.Nil(t, r.At(Place{0, "a"}))
	})
}

// TestFullDisk: a staging disk without room says so, and what is staged stays.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k,mode=700"), "run the tests as root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	r := newRig(t, func(o *Options) { o.Dir = open(t, disk, "mock") })
	want := file(t, 1, 1)
	s := r.write(base(1), want)
	big, f, err := r.Create(Place{0, "big"}, CreateOptions{})
	require.NoError(t, err)
	err = big.Change(t.Context(), func() error { _, err := f.WriteAt(make([]byte, 1<<20), 0); return err })
	require.ErrorIs(t, err, unix.ENOSPC)
	big.Release()
	r.requireStaged(inTree(1), "ltx/0000/big")
	require.NoError(t, big.Remove(t.Context()))
	require.NoError(t, s.Publish(t.Context(), true))
	r.requirePublished(1, want)
}

// TestClose: nothing is taken any more, and what is there is kept and told.
func TestClose(t *testing.T) {
	r := newRig(t)
	s := r.write("kept", []byte("x"))
	_, err := s.Open()
	require.NoError(t, err)
	require.NoError(t, r.Replace(Place{0, base(1)}))
	r.Close()
	require.ErrorIs(t, s.Change(t.Context(), func() error { return nil }), os.ErrClosed)
	_, _, err = r.Create(Place{0, "late"}, CreateOptions{})
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, r.Replace(Place{0, base(2)}), os.ErrClosed)
	_, err = s.Open()
	require.ErrorIs(t, err, os.ErrClosed)
	r.requireStaged("ltx/0000/kept")
	s.Release()
}
