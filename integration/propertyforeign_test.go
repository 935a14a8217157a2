package integration

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// foreignWriter writes into the replica's directory behind the mounts, in the
// steps in which Litestream does it: a temporary file, synced; renamed; and only
// then with its own time.
type foreignWriter struct {
	pending map[fileName]*foreignWrite
}

// foreignWrite is a write that is under way.
type foreignWrite struct {
	content *content
	renamed bool
	modTime time.Time // that it gets in the end
}

// foreignWrite takes a write one step further, or begins one.
func (r *run) foreignWrite() {
	if r.foreign.pending == nil {
		r.foreign.pending = map[fileName]*foreignWrite{}
	}
	n := r.pick(possibleNames)
	for _, other := range ltxNames { // in an order that a seed repeats
		if r.foreign.pending[other] != nil && r.rng.IntN(3) == 0 {
			n = other
			break
		}
	}
	if r.foreign.pending[n] == nil {
		r.foreignBegin(n)
	}
	// Most are done in one go.
	for r.foreign.pending[n] != nil && r.rng.IntN(5) > 0 {
		r.foreignStep(n)
	}
}

func (r *run) foreignPath(n fileName) string {
	return filepath.Join(r.root, ltxfstest.StorePath(n.level, n.name))
}

func (r *run) foreignBegin(n fileName) {
	w := &foreignWrite{}
	var data []byte
	if r.rng.IntN(12) == 0 {
		// What another writer stores is shown as it is.
		data = make([]byte, r.rng.IntN(3)*700)
		w.modTime = storetest.DefaultTime.Add(-time.Duration(r.rng.IntN(1e9)))
	} else {
		data = r.newValid(n)
		w.modTime = headerTime(data)
	}
	r.note("foreign: write %s.tmp, %d bytes", n, len(data))
	tmp := r.foreignPath(n) + ".tmp"
	f, err := os.Create(tmp)
	require.NoError(r.t, err)
	_, err = f.Write(data)
	require.NoError(r.t, err)
	require.NoError(r.t, f.Sync())
	require.NoError(r.t, f.Close())
	info, err := os.Stat(tmp)
	require.NoError(r.t, err)
	w.content = &content{data: data, modTime: info.ModTime().UTC()}
	r.foreign.pending[n] = w
}

// foreignStep renames the temporary file, or then sets the time.
func (r *run) foreignStep(n fileName) {
	w := r.foreign.pending[n]
	path := r.foreignPath(n)
	if !w.renamed {
		r.note("foreign: rename to %s", n)
		w.renamed = true
		require.NoError(r.t, os.Rename(path+".tmp", path))
		r.set(n, w.content)
		return
	}
	delete(r.foreign.pending, n)
	if now := r.now(n); now != w.content {
		return // a mount has deleted or replaced it meanwhile
	}
	r.note("foreign: set the time of %s", n)
	require.NoError(r.t, os.Chtimes(path, w.modTime, w.modTime))
	r.set(n, &content{data: w.content.data, modTime: w.modTime})
}

func (r *run) foreignDelete() {
	n := r.pick(possibleNames)
	r.note("foreign: delete %s", n)
	err := os.Remove(r.foreignPath(n))
	if r.now(n) == nil {
		require.ErrorIs(r.t, err, os.ErrNotExist)
		return
	}
	require.NoError(r.t, err)
	r.set(n, nil)
}

// finish ends the writes that are under way.
func (*foreignWriter) finish(r *run) {
	for _, n := range ltxNames {
		for r.foreign.pending[n] != nil {
			r.foreignStep(n)
		}
	}
}

// newContent is something to write to a name: mostly what belongs there, and
// else anything that tools may get wrong.
func (r *run) newContent(n fileName) []byte {
	if !n.isLTX() || n == impossibleName {
		n = r.pick(possibleNames)
	}
	data := r.newValid(n)
	switch r.rng.IntN(12) {
	case 0: // cut short
		return data[:r.rng.IntN(len(data))]
	case 1: // another's
		return r.newValid(r.pick(possibleNames))
	case 2: // one bit wrong
		data[r.rng.IntN(len(data))] ^= 1 << r.rng.IntN(8)
		return data
	case 3: // too long
		return append(data, 0)
	case 4:
		return []byte("no LTX at all")
	case 5:
		return nil
	}
	return data
}

// newValid makes a new content that is valid under a name. It is all noise, so
// that no bit of it can change unnoticed.
func (r *run) newValid(n fileName) []byte {
	minTXID, maxTXID, err := ltx.ParseFilename(n.name)
	require.NoError(r.t, err)
	r.contents++
	opts := []storetest.Option{storetest.Noise(), storetest.Seed(uint64(r.contents))}
	at := storetest.DefaultTime.Add(time.Duration(r.contents) * time.Second)
	switch pick := r.rng.IntN(20); {
	case pick == 0: // more than a block of the cache
		opts = append(opts, storetest.Commit(40+uint32(r.rng.IntN(60))))
	case pick <= 4:
		opts = append(opts, storetest.Commit(1+uint32(r.rng.IntN(8))))
	case pick <= 8: // nothing but the bytes tells it from others
		opts = append(opts, storetest.PageSize(1024))
		at = storetest.DefaultTime
	default:
		opts = append(opts, storetest.PageSize(512), storetest.Commit(1+uint32(r.rng.IntN(4))))
	}
	data := storetest.LTX(r.t, minTXID, maxTXID, append(opts, storetest.Timestamp(at))...)
	r.addValid(data, minTXID, maxTXID)
	return slices.Clone(data)
}

// validRange is the LTX name of valid bytes.
func (r *run) validRange(data []byte) (name string, ok bool) {
	is, ok := r.valid[sha256.Sum256(data)]
	return ltx.FormatFilename(is.min, is.max), ok
}
