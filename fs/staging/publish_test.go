package staging

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestPublishWithin: a large file has the time that a slow link takes.
func TestPublishWithin(t *testing.T) {
	for size, want := range map[int64]time.Duration{
		0:         5 * time.Minute,
		512 << 10: 5*time.Minute + time.Second,
		2 << 30:   5*time.Minute + 4096*time.Second,
		1 << 40:   5*time.Minute + (1<<21)*time.Second,
	} {
		assert.Equal(t, want, publishWithin(5*time.Minute, size))
	}
}

// timedStore tells how much time its writes have left.
type timedStore struct {
	*mock.Store
	left chan time.Duration
}

func (s *timedStore) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	deadline, _ := ctx.Deadline()
	s.left <- time.Until(deadline)
	return s.Store.WriteLTXFile(ctx, name, content, opts)
}

// TestLargePublication: what is publishing a large file isn't given up at the
// deadline of a small one.
func TestLargePublication(t *testing.T) {
	large := storetest.LTX(t, 1, 1, storetest.Commit(2000), storetest.Noise())
	require.Greater(t, len(large), 8*slowestUpload, "to have seconds")
	store := &timedStore{mock.New(), make(chan time.Duration, 2)}
	r := newRig(t, func(o *Options) { o.Store, o.Publish = store, 0 }) // so that the size alone counts
	require.NoError(t, r.write(base(1), large).Publish(t.Context(), true))
	left := <-store.left
	assert.Greater(t, left, time.Second)
	assert.LessOrEqual(t, left, time.Duration(len(large))*time.Second/slowestUpload)
}

// TestPublish: a published file is in the store, in the index and staged no more;
// who has it open can read it, and not change it.
func TestPublish(t *testing.T) {
	for _, how := range []string{"in place", "by a rename"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t)
			want := file(t, 1, 1)
			s := r.write(base(1), want)
			f, err := s.Open()
			require.NoError(t, err)
			publish := func() error { return s.Publish(t.Context(), true) }
			if how == "by a rename" {
				require.NoError(t, s.Rename(t.Context(), Place{0, "upload.tmp"}))
				publish = func() error { return s.PublishAs(t.Context(), name(1), false) }
			}
			before := r.Changed(0)
			require.NoError(t, publish())
			r.requirePublished(1, want)
			r.requireStaged()
			require.Len(t, r.index.put, 1)
			assert.Equal(t, r.index.put[0], *s.Published())
			assert.Equal(t, name(1), r.index.put[0].Name)
			assert.True(t, r.Changed(0).After(before))

			got := make([]byte, len(want))
			_, err = f.ReadAt(got, 0)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			require.ErrorIs(t, s.Change(t.Context(), func() error { return nil }), ErrPublished)
			require.ErrorIs(t, s.Truncate(t.Context(), 0), ErrPublished)
			require.NoError(t, s.Publish(t.Context(), false), "the next close hears of it")
			require.ErrorIs(t, s.PublishAs(t.Context(), name(1), false), ErrPublished)
			require.ErrorIs(t, s.Remove(t.Context()), ErrPublished)
			require.ErrorIs(t, s.Rename(t.Context(), Place{0, "x"}), ErrPublished)
			s.Release()
			assert.Equal(t, 1, r.store.Calls(mock.OpWrite))
		})
	}
}

// TestNothingToPublish: what has no LTX name, no name at all, or no content at a
// close stays as it is.
func TestNothingToPublish(t *testing.T) {
	r := newRig(t)
	tmp := r.write("upload.tmp", []byte("x"))
	empty := r.write(base(1), nil)
	gone := r.write(base(2), []byte("x"))
	require.NoError(t, gone.Remove(t.Context()))
	require.NoError(t, tmp.Publish(t.Context(), true))
	require.NoError(t, empty.Publish(t.Context(), true))
	require.NoError(t, gone.Publish(t.Context(), true))
	require.ErrorIs(t, gone.PublishAs(t.Context(), name(2), false), ErrUnlinked)
	require.ErrorIs(t, empty.Publish(t.Context(), false), ltxfile.ErrInvalid, "fsync wants the file to be there")
	r.requireStaged(inTree(1), "ltx/0000/upload.tmp")
	assert.Zero(t, r.store.Calls(mock.OpWrite))
}

// TestRefusalsAreRemembered: the same content under the same name isn't read
// twice. What the store refused is tried again.
func TestRefusalsAreRemembered(t *testing.T) {
	r := newRig(t)
	s := r.write(base(1), file(t, 2, 1))
	refused := s.Publish(t.Context(), true)
	require.ErrorIs(t, refused, ltxfile.ErrName)
	require.Equal(t, refused, s.Publish(t.Context(), false))
	assert.Equal(t, 1, r.acquired, "read once")
	assert.Equal(t, refused, r.Unpublished()[0].Err)

	require.ErrorIs(t, s.PublishAs(t.Context(), name(3), false), ltxfile.ErrName)
	assert.Equal(t, 2, r.acquired, "another name is another question")
	require.NoError(t, s.Truncate(t.Context(), 10))
	require.ErrorIs(t, s.Publish(t.Context(), true), ltxfile.ErrInvalid)
	require.ErrorIs(t, s.Publish(t.Context(), true), ltxfile.ErrInvalid)
	assert.Equal(t, 3, r.acquired)
	upsideDown := replica.Name{MinTXID: 2, MaxTXID: 1}
	require.ErrorIs(t, s.PublishAs(t.Context(), upsideDown, false), ltxfile.ErrName)
	assert.Equal(t, 3, r.acquired, "no file can have that name")
	require.NoError(t, s.Remove(t.Context()))

	s = r.write(base(1), file(t, 1, 1))
	r.store.FailOnce(mock.OpWrite, errBroken)
	require.ErrorIs(t, s.Publish(t.Context(), true), errBroken)
	require.ErrorIs(t, r.Unpublished()[0].Err, errBroken)
	assert.Empty(t, r.index.put)
	require.NoError(t, s.Publish(t.Context(), true))
	r.requirePublished(1, file(t, 1, 1))
	r.requireStaged()
}

// TestExclusive: O_EXCL holds until the file is in the store, and no longer than
// its file has the name.
func TestExclusive(t *testing.T) {
	r := newRig(t)
	stage := func(exclusive bool) *File {
		s, f, err := r.Create(Place{0, base(1)}, CreateOptions{Exclusive: exclusive})
		require.NoError(t, err)
		defer s.Release()
		require.NoError(t, s.Change(t.Context(), func() error { _, err := f.WriteAt(file(t, 1, 1), 0); return err }))
		return s
	}
	foreign := file(t, 1, 2)
	r.store.Put(0, 1, 1, foreign)
	s := stage(true)
	require.ErrorIs(t, s.Publish(t.Context(), true), os.ErrExist)
	assert.Equal(t, []int{0}, r.index.invalidated, "the other's file is to show")
	r.requirePublished(1, foreign)
	r.requireStaged(inTree(1))
	require.ErrorIs(t, s.PublishAs(t.Context(), name(1), true), os.ErrExist)
	require.NoError(t, s.PublishAs(t.Context(), name(1), false), "a rename takes what is there")
	r.requirePublished(1, file(t, 1, 1))

	r.store.Put(0, 1, 1, foreign)
	s = stage(true)
	require.NoError(t, s.Empty(t.Context()), "an open that wants to replace what is there")
	f, err := s.Open()
	require.NoError(t, err)
	require.NoError(t, s.Change(t.Context(), func() error { _, err := f.WriteAt(file(t, 1, 1), 0); return err }))
	s.Release()
	require.NoError(t, s.Publish(t.Context(), true))
	r.requirePublished(1, file(t, 1, 1))
}

// TestPublishOver: the staged file that had the published name goes with the one
// that is published, and nothing of it is.
func TestPublishOver(t *testing.T) {
	r := newRig(t)
	old := r.write(base(1), file(t, 1, 1))
	require.NoError(t, r.write("tmp", file(t, 1, 2)).PublishAs(t.Context(), name(1), false))
	r.requireStaged()
	require.NoError(t, old.Publish(t.Context(), true))
	r.requirePublished(1, file(t, 1, 2))
	require.Nil(t, old.Published())
}

// TestWaitsForThePublication: what is being published neither changes nor gets
// away, and of two changes of one name the last stays.
func TestWaitsForThePublication(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func(ctx context.Context, r *rig, s *File) error
		err   error
		after []byte // of the file in the store
	}{
		{"unlink", func(ctx context.Context, _ *rig, s *File) error { return s.Remove(ctx) }, ErrPublished, file(t, 1, 1)},
		{"rename", func(ctx context.Context, _ *rig, s *File) error { return s.Rename(ctx, Place{0, "x"}) }, ErrPublished, file(t, 1, 1)},
		{"truncate", func(ctx context.Context, _ *rig, s *File) error { return s.Truncate(ctx, 0) }, ErrPublished, file(t, 1, 1)},
		{"fsync", func(ctx context.Context, _ *rig, s *File) error { return s.Publish(ctx, false) }, nil, file(t, 1, 1)},
		{"delete", func(ctx context.Context, r *rig, _ *File) error { return r.Delete(ctx, name(1)) }, nil, nil},
		{"another publication", func(ctx context.Context, r *rig, _ *File) error {
			return r.At(Place{0, "new.tmp"}).PublishAs(ctx, name(1), false)
		}, nil, file(t, 1, 2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, fails := range []error{nil, errBroken} {
					r := newRig(t)
					r.write("new.tmp", file(t, 1, 2))
					s := r.write(base(1), file(t, 1, 1))
					answer := make(chan struct{})
					r.store.Inject(mock.Fault{Op: mock.OpPublish, Wait: answer, Err: fails, Times: 1})
					published := async(func() error { return s.Publish(context.Background(), true) })
					synctest.Wait()
					require.Equal(t, 1, r.store.Calls(mock.OpPublish))
					done := async(func() error { return tt.do(context.Background(), r, s) })
					synctest.Wait()
					require.Empty(t, done, "it overtook the publication")
					close(answer)
					require.ErrorIs(t, <-published, fails)
					if err := <-done; fails == nil {
						require.ErrorIs(t, err, tt.err)
						r.requirePublished(1, tt.after)
					} else {
						require.NoError(t, err, "the file is as it was before it was tried")
					}
				}
			})
		})
	}
}

// hungStore doesn't answer writes and deletions until it is told to, and ignores its
// context.
type hungStore struct {
	*mock.Store
	answer chan struct{}
}

func (s *hungStore) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	<-s.answer
	return s.Store.WriteLTXFile(context.WithoutCancel(ctx), name, content, opts)
}

func (s *hungStore) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	<-s.answer
	return s.Store.DeleteLTXFiles(context.WithoutCancel(ctx), names...)
}

// TestLateAnswer: the caller hears at the deadline, and what the store does after
// it is seen to.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hungStore{mock.New(), make(chan struct{})}
		r := newRig(t, func(o *Options) { o.Store, o.Write, o.Publish, o.Delete = store, soon, soon, soon })
		want := file(t, 1, 1)
		s := r.write(base(1), want)
		require.ErrorIs(t, s.Publish(t.Context(), true), context.DeadlineExceeded)
		r.requireStaged(inTree(1))
		require.ErrorIs(t, s.Truncate(t.Context(), 0), context.DeadlineExceeded, "what is being published doesn't change")
		require.ErrorIs(t, s.Remove(t.Context()), context.DeadlineExceeded)
		require.ErrorIs(t, r.Delete(t.Context(), name(1)), context.DeadlineExceeded, "the lock is held until the store has answered")
		waiting, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		require.ErrorIs(t, r.Drain(waiting), context.DeadlineExceeded)
		assert.Empty(t, r.index.put)

		close(store.answer)
		require.NoError(t, r.Drain(t.Context()))
		r.requireStaged()
		assert.Len(t, r.index.put, 1)
		got, ok := store.Bytes(0, 1, 1)
		require.True(t, ok)
		assert.Equal(t, want, got)
		require.NoError(t, s.Publish(t.Context(), true), "the next close hears of it")
		require.NoError(t, r.Delete(t.Context(), name(1)))
		assert.Equal(t, []replica.Name{name(1)}, r.index.removed)
		require.NoError(t, r.Drain(t.Context()))
	})
}

// TestHangs: a store that answers nothing, and a budget in which there is no room,
// cost no more than the deadline.
func TestHangs(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang func(*rig)
	}{
		{"store", func(r *rig) { r.store.Inject(mock.Fault{Op: mock.OpWrite, Wait: make(chan struct{})}) }},
		{"budget", func(r *rig) { r.full = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(o *Options) { o.Publish, o.Delete = soon, soon })
				tt.hang(r)
				s := r.write(base(1), file(t, 1, 1))
				began := time.Now()
				require.ErrorIs(t, s.Publish(t.Context(), true), context.DeadlineExceeded)
				assert.Equal(t, publishWithin(soon, int64(len(file(t, 1, 1)))), time.Since(began))
				require.NoError(t, r.Drain(t.Context()), "it ends with its context")
				r.requireStaged(inTree(1))
				require.NoError(t, s.Remove(t.Context()))
			})
		})
	}
}

// TestDelete: a deletion shows in the index once the store has done it.
func TestDelete(t *testing.T) {
	r := newRig(t)
	r.store.Put(0, 1, 1, file(t, 1, 1))
	r.store.FailOnce(mock.OpDelete, errBroken)
	require.ErrorIs(t, r.Delete(t.Context(), name(1)), errBroken)
	assert.Empty(t, r.index.removed)
	before := r.Changed(0)
	require.NoError(t, r.Delete(t.Context(), name(1)))
	assert.Equal(t, []replica.Name{name(1)}, r.index.removed)
	assert.True(t, r.Changed(0).After(before))
	r.requirePublished(1, nil)
	assert.Equal(t, 2, r.store.Calls(mock.OpDelete), "one request for each")
}

type panickingStore struct{ *mock.Store }

func (panickingStore) WriteLTXFile(context.Context, replica.Name, replica.Content, replica.WriteOptions) (replica.File, error) {
	panic("a bug in the store")
}

func (panickingStore) DeleteLTXFiles(context.Context, ...replica.Name) error {
	panic("a bug in the store")
}

// TestPanic: a bug in the store is the caller's error, and locks nothing for good.
func TestPanic(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Store = panickingStore{mock.New()} })
	s := r.write(base(1), file(t, 1, 1))
	for range 2 {
		require.ErrorContains(t, s.Publish(t.Context(), true), "a bug in the store")
		require.ErrorContains(t, r.Delete(t.Context(), name(1)), "a bug in the store")
	}
	require.NoError(t, r.Drain(t.Context()))
	require.NoError(t, s.Remove(t.Context()))
}

// TestStagingDiskFails: a published file is published, even if the staging disk
// doesn't let go of its copy.
func TestStagingDiskFails(t *testing.T) {
	r := newRig(t)
	s := r.write(base(1), file(t, 1, 1))
	_, err := s.Open()
	require.NoError(t, err)
	// A directory in the file's place can't be removed as one.
	require.NoError(t, os.Remove(r.opts.Dir.FilePath(inTree(1))))
	require.NoError(t, os.MkdirAll(r.opts.Dir.FilePath(inTree(1))+"/x", 0o700))
	require.NoError(t, s.Publish(t.Context(), true))
	s.Release()
	require.Empty(t, r.Unpublished())
	r.requirePublished(1, file(t, 1, 1))
	require.NoError(t, os.RemoveAll(r.opts.Dir.FilePath(inTree(1))))
}
