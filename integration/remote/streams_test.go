package remote

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	streamOps  = flag.Int("stream-ops", 150, "how many operations each reader of TestStreams makes in a round")
	streamSeed = flag.Uint64("stream-seed", 1, "of what TestStreams draws")
)

const (
	streamFiles   = 3
	streamReaders = 4
	stamp         = 512 // bytes, each with the number of its version and its place
)

// Whatever is fetched ahead, and whatever becomes of it, a reader gets bytes of one version
// or an error: while files are replaced and deleted, answers fail and break off, and the
// daemon is killed.
func TestStreams(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		t.Logf("-stream-seed=%d", *streamSeed)
		rng := rand.New(rand.NewPCG(*streamSeed, uint64(len(kind.Name))))
		r := &streamRun{counted: newCounted(t, kind, replica.LitestreamS3)}
		for n := range streamFiles {
			r.replace(t, n, rng)
		}
		for round := range 4 {
			r.round(t, round, rng)
		}
		require.Positive(t, r.read.Load())
		t.Logf("%d reads of %d MiB, %d of a version that was gone, %d of a dead mount", r.reads.Load(), r.read.Load()>>20, r.stale.Load(), r.dead.Load())
	})
}

type streamRun struct {
	*counted
	version                  atomic.Uint32 // of the file that was written last
	killed                   atomic.Bool
	reads, read, stale, dead atomic.Int64
}

func (r *streamRun) path(n int) string {
	return ltxfstest.LevelPath(9, ltx.FormatFilename(ltx.TXID(n+1), ltx.TXID(n+1)))
}

// replace stores another version of a file, of another size.
func (r *streamRun) replace(t *testing.T, n int, rng *rand.Rand) {
	data := make([]byte, (1+rng.IntN(16<<20/stamp))*stamp)
	version := r.version.Add(1)
	for off := 0; off < len(data); off += stamp {
		binary.BigEndian.PutUint32(data[off:], version)
		binary.BigEndian.PutUint32(data[off+4:], uint32(n))
		binary.BigEndian.PutUint64(data[off+stamp-8:], uint64(off))
	}
	r.server.Put(t, r.bucket, r.key(9, ltx.TXID(n+1), ltx.TXID(n+1)), data)
}

// round is a mount with its readers, who also change files. Every second one is killed
// among its reads.
func (r *streamRun) round(t *testing.T, round int, rng *rand.Rand) {
	m := ltxfstest.MountWith(t, r.proxy.URL(r.bucket, countedPath), ltxfstest.MountOptions{
		Flags: []string{"--freshness=50ms", "--cache-size=" + []string{"4MiB", "9MiB", "128MiB"}[round%3]}, Env: r.server.Env(),
	})
	defer r.proxy.FailFraction(http.StatusServiceUnavailable, "SlowDown", 0.05, rng.Uint64())()
	defer r.proxy.CutBodies(64<<10+rng.Int64N(3<<20), round%2 == 0)()
	r.killed.Store(false)
	until := r.reads.Load() + streamReaders*int64(*streamOps)/2
	var readers sync.WaitGroup
	for range streamReaders {
		s := streamReader{streamRun: r, t: t, p: m.Process(t), rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
		readers.Go(func() {
			defer s.p.Close()
			for i := 0; i < *streamOps && !r.killed.Load() && !t.Failed(); i++ {
				s.step()
			}
		})
	}
	if round%2 == 1 {
		ltxfstest.Eventually(t, ltxfstest.Timeout, "half of the reads", func() bool { return r.reads.Load() >= until || t.Failed() })
		r.killed.Store(true)
		m.Kill(t)
		readers.Wait()
		return
	}
	readers.Wait()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// streamReader is a process with a file open.
type streamReader struct {
	*streamRun
	t       *testing.T
	p       *ltxfstest.Process
	rng     *rand.Rand
	f       *ltxfstest.File
	n       int
	size    int64
	next    int64
	version uint32 // of the open file, once a byte of it was read
}

// step opens a file, changes one, or reads: most often what follows.
func (s *streamReader) step() {
	n := s.rng.IntN(streamFiles)
	switch op := s.rng.IntN(100); {
	case op < 2:
		s.replace(s.t, n, s.rng)
	case op == 2:
		s.server.Delete(s.t, s.bucket, s.key(9, ltx.TXID(n+1), ltx.TXID(n+1)))
	case op < 10 || s.f == nil:
		s.open(n)
	default:
		switch {
		case op < 20:
			s.next = s.rng.Int64N(s.size)
		case op < 30:
			s.next = max(s.next+s.rng.Int64N(4<<20)-1<<20, 0)
		}
		s.readOn(1 + s.rng.IntN(512<<10))
	}
}

func (s *streamReader) open(n int) {
	if s.f != nil {
		_ = s.f.Close() // it was opened for reading
	}
	s.f, s.n, s.next, s.version = nil, n, 0, 0
	f, err := s.p.Open(s.path(n), unix.O_RDONLY|unix.O_DIRECT*s.rng.IntN(2), 0)
	if err == nil {
		var st ltxfstest.Stat
		if st, err = f.Stat(); err == nil {
			s.f, s.size = f, st.Size
		}
	}
	s.allow(err, syscall.ENOENT)
}

// allow fails the test unless an error is one that may be: the version is gone, or the
// mount.
func (s *streamReader) allow(err error, also ...syscall.Errno) {
	switch {
	case err == nil || slices.Contains(also, err.(syscall.Errno)):
	case err == syscall.ESTALE:
		s.stale.Add(1)
	case (err == syscall.ENOTCONN || err == syscall.ECONNABORTED) && s.killed.Load():
		s.dead.Add(1)
	default:
		assert.NoError(s.t, err, "file %d at %d", s.n, s.next)
	}
}

// readOn reads from next on, and checks each stamp that is whole.
func (s *streamReader) readOn(n int) {
	off := s.next
	data, err := s.f.ReadAt(n, off)
	s.reads.Add(1)
	if err != nil {
		s.allow(err)
		s.f = nil
		return
	}
	s.read.Add(int64(len(data)))
	s.next += int64(len(data))
	assert.Len(s.t, data, int(max(0, min(int64(n), s.size-off))))
	for at := (off + stamp - 1) / stamp * stamp; at+stamp <= off+int64(len(data)); at += stamp {
		b := data[at-off:][:stamp]
		version := binary.BigEndian.Uint32(b)
		if s.version == 0 {
			s.version = version
		}
		if version != s.version || binary.BigEndian.Uint32(b[4:]) != uint32(s.n) || binary.BigEndian.Uint64(b[stamp-8:]) != uint64(at) {
			assert.Fail(s.t, "other bytes", "file %d at %d, version %d: %x", s.n, at, s.version, b)
			return
		}
	}
}
