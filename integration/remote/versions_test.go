package remote

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

var (
	versionOps  = flag.Int("version-ops", 4000, "how many operations TestVersions makes with each cache")
	versionSeed = flag.Uint64("version-seed", 1, "of what TestVersions draws")
)

const (
	// versionStores is how many stores TestVersions draws, each with habits of its own.
	versionStores = 24

	versionFreshness = 50 * time.Millisecond
)

// Whatever a store tells of its versions, no open file shows bytes of two, a file opened
// anew shows the latest, and no ESTALE stays.
func TestVersions(t *testing.T) {
	t.Parallel()
	t.Logf("-version-seed=%d", *versionSeed)
	for name, cold := range map[string]bool{"small caches": false, "the kernel's cold": true} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(*versionSeed, uint64(len(name))))
			slots := make(chan struct{}, 4)
			var wg sync.WaitGroup
			for i := range versionStores {
				h, seed := drawHabits(rng), rng.Uint64()
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					t.Run(fmt.Sprintf("%d", i), func(t *testing.T) {
						t.Logf("%+v", h)
						r := newVersionRun(t, h, seed, cold)
						for range *versionOps / versionStores {
							r.step(t)
						}
						r.settle(t)
					})
				})
			}
			wg.Wait()
		})
	}
}

// versionRun is a store, a mount of it, and a reader with some files open.
type versionRun struct {
	store *versionStore
	p     *ltxfstest.Process
	rng   *rand.Rand
	cold  bool
	open  []*openVersion
}

// openVersion is an open file, and what is known of what it is.
type openVersion struct {
	*ltxfstest.File
	key    string
	number string // of the version, once some of it was read
}

func newVersionRun(t *testing.T, h habits, seed uint64, cold bool) *versionRun {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &versionRun{store: newVersionStore(h, rand.New(rand.NewPCG(seed, 2))), rng: rng, cold: cold}
	t.Cleanup(r.store.Close)
	for n := range 4 {
		r.store.replace(versionKey(n))
	}
	m := ltxfstest.MountWith(t, "s3://bucket/db?region=us-east-1&forcePathStyle=true&endpoint="+r.store.URL, ltxfstest.MountOptions{
		Flags: []string{"--freshness=" + versionFreshness.String(), "--cache-size=4MiB"},
		Env:   []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"},
	})
	r.p = m.Process(t)
	return r
}

func versionKey(n int) string { return "db/0000/" + ltx.FormatFilename(ltx.TXID(n+1), ltx.TXID(n+1)) }

func (r *versionRun) path(key string) string {
	return ltxfstest.LevelPath(0, key[strings.LastIndex(key, "/")+1:])
}

// step is one operation.
func (r *versionRun) step(t *testing.T) {
	key := versionKey(r.rng.IntN(4))
	switch n := r.rng.IntN(100); {
	case n < 6:
		r.store.replace(key)
	case n < 8:
		_, err := r.p.ReadDir(ltxfstest.LevelPath(0, ""))
		require.NoError(t, err)
	case n < 10:
		if _, err := r.p.Stat(r.path(key)); !errors.Is(err, syscall.ESTALE) {
			require.NoError(t, err)
		}
	case n < 20 || len(r.open) == 0:
		r.openOne(t, key)
	case n < 24:
		i := r.rng.IntN(len(r.open))
		require.NoError(t, r.open[i].Close())
		r.open = append(r.open[:i], r.open[i+1:]...)
	default:
		o := r.open[r.rng.IntN(len(r.open))]
		r.read(t, o, int64(r.rng.IntN(8))*(50<<10)+int64(r.rng.IntN(9))*cell, 1+r.rng.IntN(3000))
	}
}

// openOne opens a file, unless it is replaced again and again meanwhile.
func (r *versionRun) openOne(t *testing.T, key string) *openVersion {
	t.Helper()
	flags := unix.O_RDONLY
	if r.cold || r.rng.IntN(2) == 0 {
		flags |= unix.O_DIRECT
	}
	f, err := r.p.Open(r.path(key), flags, 0)
	if errors.Is(err, syscall.ESTALE) {
		return nil // it has been replaced again and again
	}
	require.NoError(t, err)
	o := &openVersion{File: f, key: key}
	if len(r.open) > 20 {
		require.NoError(t, r.open[0].Close())
		r.open = r.open[1:]
	}
	r.open = append(r.open, o)
	return o
}

// read reads some of an open file: only what is of the version that it has been so far.
func (r *versionRun) read(t *testing.T, o *openVersion, off int64, size int) error {
	t.Helper()
	data, err := o.ReadAt(size, off)
	if errors.Is(err, syscall.ESTALE) {
		// A version that a HEAD told of with an unsteady time, no listing shows.
		if o.number != "" && !r.store.habits.unsteady {
			number, perr := strconv.ParseInt(strings.TrimSpace(o.number), 10, 64)
			require.NoError(t, perr)
			require.True(t, r.store.rewritten(o.key, number), "%s is what it was, and said to be another:\n%s", o.key, r.store.history(o.key))
		}
		return err
	}
	require.NoError(t, err, "%s at %d", o.key, off)
	for at := off; at < off+int64(len(data)); {
		end := min(at-at%cell+cell, off+int64(len(data)))
		if at%cell == 0 && end-at == cell {
			number := string(data[at-off : end-off])
			if o.number == "" {
				o.number = number
			}
			require.Equal(t, o.number, number, "%s at %d is of another version than what was read before:\n%s", o.key, at, r.store.history(o.key))
		}
		at = end
	}
	return nil
}

// settle makes sure that nothing stays stale: once no other writer comes, each file
// opened anew is what the store has, to its end.
func (r *versionRun) settle(t *testing.T) {
	r.store.calm()
	for n := range 4 {
		key := versionKey(n)
		want := r.store.now(key)
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the mount shows the latest version", func() bool {
			o := r.openOne(t, key)
			if o == nil {
				return false
			}
			for off := int64(0); off < int64(len(want.data)); off += 50 << 10 {
				if r.read(t, o, off, 50<<10) != nil {
					return false
				}
			}
			number, err := strconv.ParseInt(strings.TrimSpace(o.number), 10, 64)
			require.NoError(t, err)
			return number == want.number
		})
	}
}

// A file comes into a real server's directory by other means, and has no ETag of its
// own. Another of the same size takes its place while it is open.
func TestVersionsBehindTheServer(t *testing.T) {
	s3test.ForKinds(t, []*s3test.Kind{s3test.VersityGW, s3test.FixedETag}, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		name := ltx.FormatFilename(1, 1)
		path := ltxfstest.LevelPath(0, name)
		content := func(n uint64) []byte {
			at := storetest.DefaultTime.Add(time.Duration(n) * time.Second)
			return storetest.LTX(t, 1, 1, storetest.Commit(300), storetest.Noise(), storetest.Seed(n), storetest.Timestamp(at))
		}
		older, newer := content(1), content(2)
		require.Len(t, newer, len(older))
		s.PutBehind(t, bucket, "db/0000/"+name, older)
		m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--freshness=1s"}, Env: s.Env()})
		p := m.Process(t)
		f, err := p.Open(path, unix.O_RDONLY, 0)
		require.NoError(t, err)
		got, err := f.ReadAt(4096, 0)
		require.NoError(t, err)
		require.Equal(t, older[:4096], got)

		before := s.Objects(t, bucket, "db/0000/"+name)[0].LastModified
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the new file is from another second", func() bool {
			s.PutBehind(t, bucket, "db/0000/"+name, newer)
			return s.Objects(t, bucket, "db/0000/"+name)[0].LastModified.After(before)
		})
		_, err = f.ReadAt(4096, int64(len(older)-5000))
		require.ErrorIs(t, err, unix.ESTALE)
		require.NoError(t, f.Close())
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the mount shows the new file", func() bool {
			got, err := p.ReadFile(path)
			return err == nil && bytes.Equal(newer, got)
		})
		require.Regexp(t, `level=WARN msg="the store('s ETags don't| gives answers without)`, m.Log())
	})
}
