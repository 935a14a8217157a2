package integration

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// writeFile writes a file from beginning to end, as tools do.
func (r *run) writeFile(u *user) {
	n := r.anyName(u)
	flags := unix.O_WRONLY | unix.O_CREAT
	switch r.rng.IntN(8) {
	case 0:
		flags |= unix.O_EXCL
	case 1:
	default:
		flags |= unix.O_TRUNC
	}
	h := r.open(u, n, flags)
	if h == nil {
		return
	}
	data := r.newContent(n)
	for off := 0; off < len(data); {
		size := len(data) - off
		if r.rng.IntN(3) == 0 {
			size = 1 + r.rng.IntN(size)
		}
		r.write(u, h, data[off:off+size], int64(off))
		off += size
	}
	if r.rng.IntN(4) == 0 {
		r.fsync(u, h)
	}
	r.close(u, h)
}

// openToWrite opens a file in any way, and leaves it open.
func (r *run) openToWrite(u *user) {
	if len(u.handles) >= maxHandles {
		r.close(u, u.handles[0])
	}
	flags := []int{unix.O_WRONLY, unix.O_RDWR}[r.rng.IntN(2)] | []int{
		0, unix.O_APPEND, unix.O_TRUNC, unix.O_CREAT, unix.O_CREAT | unix.O_TRUNC, unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_APPEND,
	}[r.rng.IntN(7)]
	r.open(u, r.anyName(u), flags)
}

// open opens a file to write. It returns nil if that failed, as it should.
func (r *run) open(u *user, n fileName, flags int) *handle {
	create, exclusive, truncate := flags&unix.O_CREAT != 0, flags&unix.O_EXCL != 0, flags&unix.O_TRUNC != 0
	p := r.path(n)
	r.note("%s: open %s by %s with flags %#x", u.name, n, p, flags)
	h := &handle{name: n, canRead: flags&unix.O_ACCMODE == unix.O_RDWR, canWrite: true, toAppend: flags&unix.O_APPEND != 0}
	at := time.Now()
	present, absent := u.can(n, at)
	var err error
	h.f, err = u.p.Open(p, flags, 0o644)

	s := u.staged[n]
	switch {
	case s != nil && exclusive:
		r.wantOneOf(err, syscall.EEXIST)
	case s != nil:
		r.wantOneOf(err, nil)
		if truncate {
			s.data, s.exclusive = nil, false
		}
	case exclusive && r.now(n) != nil:
		// This asks the replica itself.
		r.wantOneOf(err, syscall.EEXIST)
	case exclusive:
		r.wantOneOf(err, r.outcomes(u, n, at, syscall.EEXIST, nil)...)
	case truncate && create:
		r.wantOneOf(err, nil)
	case truncate:
		r.wantOneOf(err, r.outcomes(u, n, at, nil, syscall.ENOENT)...)
	case create:
		r.wantOneOf(err, r.outcomes(u, n, at, syscall.EPERM, nil)...)
	default:
		r.wantOneOf(err, r.outcomes(u, n, at, syscall.EPERM, syscall.ENOENT)...)
	}
	if err != nil {
		return nil
	}
	if s == nil {
		s = u.stage(n, truncate && present, truncate && present && absent)
		s.exclusive = exclusive
	}
	h.staged = s
	s.handles++
	u.handles = append(u.handles, h)
	if s.unsure && len(s.data) == 0 {
		r.write(u, h, []byte{byte(r.rng.Uint32())}, 0)
	}
	return h
}

// useHandle does something to an open file.
func (r *run) useHandle(u *user) {
	if len(u.handles) == 0 {
		r.openToWrite(u)
		return
	}
	h := u.handles[r.rng.IntN(len(u.handles))]
	if h.staged == nil {
		if r.rng.IntN(5) == 0 {
			r.close(u, h)
		} else {
			r.readPart(u, h)
		}
		return
	}
	size := len(h.staged.data)
	switch pick := r.rng.IntN(10); {
	case pick == 0:
		r.close(u, h)
	case pick <= 2:
		r.fsync(u, h)
	case pick <= 4 && h.canRead:
		r.readPart(u, h)
	case !h.canWrite:
		r.close(u, h)
	case pick <= 6:
		// All of a new content.
		data := r.newContent(h.staged.name)
		r.truncate(u, h, int64(len(data)))
		r.write(u, h, data, 0)
	case pick == 7:
		r.truncate(u, h, int64(r.rng.IntN(size+100)))
	default:
		data := make([]byte, 1+r.rng.IntN(5000))
		for i := range data {
			data[i] = byte(r.rng.Uint32())
		}
		r.write(u, h, data, int64(r.rng.IntN(size+1)))
	}
}

// refusal is what changing a staged file gives: it is refused once the file is
// published.
func (h *handle) refusal() error {
	if h.staged.published != nil {
		return syscall.EPERM
	}
	return nil
}

func (r *run) write(u *user, h *handle, data []byte, off int64) {
	if len(data) == 0 {
		return
	}
	var err error
	if h.toAppend {
		off = int64(len(h.staged.data))
		r.note("%s: append %d bytes to %s", u.name, len(data), h.staged.name)
		err = h.f.Write(data)
	} else {
		r.note("%s: write %d bytes at %d of %s", u.name, len(data), off, h.staged.name)
		err = h.f.WriteAt(data, off)
	}
	r.wantOneOf(err, h.refusal())
	if err == nil {
		h.staged.write(data, off)
	}
}

func (r *run) truncate(u *user, h *handle, size int64) {
	if h.staged.unsure {
		size = max(size, 1)
	}
	r.note("%s: ftruncate %s to %d bytes", u.name, h.staged.name, size)
	err := h.f.Truncate(size)
	r.wantOneOf(err, h.refusal())
	if err == nil {
		h.staged.truncate(size)
	}
}

// fsync publishes what has an LTX name, complete or not.
func (r *run) fsync(u *user, h *handle) {
	r.note("%s: fsync %s", u.name, h.staged.name)
	r.published1(u, h.staged, h.f.Fsync(), h.staged.canPublish())
}

// published1 checks the result of a call that publishes a staged file under its
// name, if it does.
func (r *run) published1(u *user, s *stagedFile, err error, publishes bool) {
	if !publishes {
		r.wantOneOf(err, nil)
		return
	}
	want := r.verdict(s.data, s.name)
	if want == nil && s.exclusive && r.now(s.name) != nil {
		want = syscall.EEXIST
	}
	r.wantOneOf(err, want)
	if err == nil {
		u.publish(s, s.name)
		r.published++
	}
}

// close publishes what has an LTX name and isn't empty.
func (r *run) close(u *user, h *handle) {
	r.note("%s: close %s", u.name, h.name)
	u.handles = slices.DeleteFunc(u.handles, func(o *handle) bool { return o == h })
	err := h.f.Close()
	if s := h.staged; s != nil {
		r.published1(u, s, err, h.canWrite && s.canPublish() && len(s.data) > 0)
		if u.release(s) {
			// The kernel tells of the end of a handle when close has returned.
			ltxfstest.Eventually(r.t, r.freshness+r.slack, "the empty replacement is gone", func() bool {
				at := time.Now()
				st, err := u.p.Stat(s.name.String())
				return err == syscall.ENOENT && u.sawFile(s.name, at, false) || err == nil && u.saw(s.name, at, sameStat(st))
			})
		}
		return
	}
	r.wantOneOf(err, nil)
}

func (r *run) renameFile(u *user) {
	from, to := r.anyName(u), r.anyName(u)
	if n, ok := r.stagedName(u); ok && r.rng.IntN(4) > 0 {
		from = n
		if r.rng.IntN(2) == 0 {
			// Where its content belongs, if it belongs somewhere.
			if is, ok := r.validRange(u.staged[n].data); ok {
				to = fileName{levels[r.rng.IntN(len(levels))], is}
			}
		}
	}
	noReplace := r.rng.IntN(3) == 0
	flags := uint(0)
	if noReplace {
		flags = unix.RENAME_NOREPLACE
	}
	a, b := r.path(from), r.path(to)
	r.note("%s: rename %s by %s to %s by %s, noreplace: %v", u.name, from, a, to, b, noReplace)
	at := time.Now()
	err := u.p.Rename(a, b, flags)

	s := u.staged[from]
	var right []error
	_, fromAbsent := u.can(from, at)
	if s == nil && fromAbsent {
		right = append(right, syscall.ENOENT)
	}
	if s == nil && from.isLTX() || s != nil {
		right = append(right, r.renameOutcomes(u, from, to, noReplace, at)...)
	}
	r.wantOneOf(err, right...)
	if err != nil || from == to {
		return
	}
	switch {
	case to.isLTX():
		u.publish(s, to)
		r.published++
	default:
		u.rename(s, to)
	}
}

// renameOutcomes are the right results of renaming what exists.
func (r *run) renameOutcomes(u *user, from, to fileName, noReplace bool, at time.Time) []error {
	s := u.staged[from]
	taken, _ := u.can(to, at) // as far as the mount knows
	switch {
	case noReplace && (from == to || u.staged[to] != nil || r.now(to) != nil):
		return []error{syscall.EEXIST} // it asks the replica itself
	case from == to && s == nil && len(u.may(from, at)) > 1:
		return []error{nil, syscall.EPERM} // the name may come to mean another file on the way
	case from == to:
		return []error{nil}
	}
	var right []error
	if noReplace && taken {
		right = append(right, syscall.EEXIST)
	}
	switch {
	case s == nil && to.isLTX() && to.name != from.name:
		right = append(right, syscall.EINVAL)
	case s == nil:
		right = append(right, syscall.EPERM)
	case to.isLTX():
		right = append(right, r.verdict(s.data, to))
	default:
		right = append(right, nil)
	}
	return right
}

func (r *run) unlinkFile(u *user) {
	n := r.anyName(u)
	p := r.path(n)
	r.note("%s: unlink %s by %s", u.name, n, p)
	at := time.Now()
	err := u.p.Unlink(p)
	if s := u.staged[n]; s != nil {
		r.wantOneOf(err, nil)
		u.unlink(s)
		return
	}
	r.wantOneOf(err, r.outcomes(u, n, at, nil, syscall.ENOENT)...)
	if err == nil {
		u.changed(n, nil)
	}
}

func (r *run) truncateFile(u *user) {
	n := r.anyName(u)
	p := r.path(n)
	size := int64(r.rng.IntN(3000))
	if s := u.staged[n]; s != nil && s.unsure {
		size = max(size, 1)
	}
	r.note("%s: truncate %s by %s to %d bytes", u.name, n, p, size)
	at := time.Now()
	err := u.p.Truncate(p, size)
	if s := u.staged[n]; s != nil {
		r.wantOneOf(err, nil)
		s.truncate(size)
		return
	}
	r.wantOneOf(err, r.outcomes(u, n, at, syscall.EPERM, syscall.ENOENT)...)
}

// setAttributes sets mode and time, which succeeds everywhere; a published file
// keeps its own.
func (r *run) setAttributes(u *user) {
	n := r.anyName(u)
	p := r.path(n)
	r.note("%s: chmod and touch %s by %s", u.name, n, p)
	at := time.Now()
	missing := r.outcomes(u, n, at, nil, syscall.ENOENT)
	if u.staged[n] != nil {
		missing = []error{nil}
	}
	r.wantOneOf(u.p.Chmod(p, 0o644), missing...)
	r.wantOneOf(u.p.Utimes(p, storetest.DefaultTime.Add(-time.Hour)), missing...)
	st, err := u.p.Stat(p)
	r.showedStat(u, n, at, st, err)
}

// refused is what no directory of the tree allows.
func (r *run) refused(u *user) {
	level := levels[r.rng.IntN(len(levels))]
	dir := r.levelPath(level)
	r.note("%s: what %s refuses", u.name, dir)
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{u.p.Mkdir(dir), syscall.EEXIST},
		{u.p.Mkdir(dir + "/directory"), syscall.EPERM},
		{u.p.Rmdir(fileName{level, "."}.String()[:len("ltx/0000")]), syscall.EPERM},
		{u.p.Rmdir(dir + "/directory"), syscall.ENOENT},
		{u.p.Symlink("x", dir+"/symlink"), syscall.EPERM},
		{u.p.Mknod(dir+"/pipe", syscall.S_IFIFO|0o644), syscall.EPERM},
	} {
		r.wantOneOf(c.err, c.want)
	}
}
