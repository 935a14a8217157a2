package remote

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func faultReplaced(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	old := newFile(t, seedLevel, 800, 2048)
	r.store(old)
	now := newFile(t, seedLevel, 800, 2048, storetest.Seed(7))
	l := r.use(loadOptions{})
	l.goOn(1, 1)
	r.readWhile(old, func() { r.store(now) })

	// Who opens it now gets the other file, and no byte of the first.
	r.requireReads(now)
	l.goOn(2, 2)
	require.Empty(t, l.end())
	r.requireRecovered()
}

func faultDeleted(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	f := newFile(t, seedLevel, 800, 2048)
	r.store(f)
	l := r.use(loadOptions{})
	l.goOn(1, 1)
	r.readWhile(f, func() {
		r.server.Delete(t, r.bucket, f.key())
		r.forget(f)
	})
	require.Equal(t, syscall.ENOENT, r.read(f, direct).errno)
	l.goOn(2, 2)
	require.Empty(t, l.end())
	r.requireRecovered()
}

// readWhile reads the first half of a large file, has something happen to it, and
// reads on: what comes is right, or ESTALE, and at some place it is ESTALE.
func (r *rig) readWhile(f ltxFile, happen func()) {
	r.t.Helper()
	p := r.m.Process(r.t)
	defer p.Close()
	file, err := p.Open(f.path(), unix.O_RDONLY, 0)
	require.NoError(r.t, err)
	const piece = 256 << 10
	half := len(f.data) / 2
	for off := 0; off < half; off += piece {
		got, err := file.ReadAt(piece, int64(off))
		require.NoError(r.t, err)
		require.True(r.t, bytes.Equal(f.data[off:off+piece], got), "wrong bytes at %d", off)
	}
	happen()
	stale := 0
	for off := half / piece * piece; off < len(f.data); off += piece {
		want := f.data[off:min(off+piece, len(f.data))]
		got, err := file.ReadAt(len(want), int64(off))
		require.True(r.t, bytes.HasPrefix(want, got), "wrong bytes at %d, after the change", off)
		if err == nil {
			require.Len(r.t, got, len(want), "at %d", off)
			continue
		}
		require.Equal(r.t, error(syscall.ESTALE), err, "at %d", off)
		stale++
	}
	require.Positive(r.t, stale, "all of the file could be read")
	require.NoError(r.t, file.Close())
}

// A store that refuses the credentials from some moment on: nothing works any
// more, and nothing is lost.
func faultRevoked(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{user: true})
	l := r.use(loadOptions{readErrnos: []syscall.Errno{syscall.EACCES}, writeErrnos: []syscall.Errno{syscall.EACCES}})
	l.goOn(1, 1)
	r.user.Revoke(t)
	l.goOn(2, 3)
	got := r.read(r.seeds[len(r.seeds)-1], direct)
	require.Equal(t, syscall.EACCES, got.errno, got.stderr)
	_, ls := r.list(seedLevel)
	require.Equal(t, syscall.EACCES, ls.errno, ls.stderr)
	o := r.write(r.newWrite(3), throughRename)
	require.Equal(t, syscall.EACCES, o.errno, o.stderr)
	failed := append(l.end(), o)
	r.requireStaged(failed)

	r.requireResources()
	r.requireUnmounts(ltxfstest.ExitUnpublished)
	// With credentials that the store takes, here those of its owner.
	r.user = nil
	r.publishLeftovers()
}
