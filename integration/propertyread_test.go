package integration

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
)

// The names that the property test is about: few, so that all meet.
var (
	levels = []int{0, 1, 3, replica.SnapshotLevel}

	possibleNames, ltxNames, tempNames []fileName

	// impossibleName is an LTX name that no LTX file can have.
	impossibleName = fileName{1, "0000000000000009-0000000000000005.ltx"}
)

func init() {
	for _, level := range levels {
		for _, name := range []string{
			"0000000000000001-0000000000000001.ltx",
			"0000000000000001-0000000000000004.ltx",
			"0000000000000005-0000000000000005.ltx",
			"0000000000000009-00000000000000ff.ltx",
		} {
			possibleNames = append(possibleNames, fileName{level, name})
		}
		for _, name := range []string{
			"upload", "0000000000000001-0000000000000001.ltx.tmp", ".0000000000000005-0000000000000005.ltx.Xy12ab", "two words~",
		} {
			tempNames = append(tempNames, fileName{level, name})
		}
	}
	ltxNames = append(slices.Clone(possibleNames), impossibleName)
}

// handle is an open file: a staged one, or one version of a published one.
type handle struct {
	f    *ltxfstest.File
	name fileName // when it was opened

	staged                      *stagedFile
	canRead, canWrite, toAppend bool

	versions []*content // of a published file, those that it may be
	opened   int        // the length of the name's history then
}

func (r *run) pick(names []fileName) fileName { return names[r.rng.IntN(len(names))] }

// anyName is a name of any kind, often one that is staged.
func (r *run) anyName(u *user) fileName {
	if n, ok := r.stagedName(u); ok && r.rng.IntN(2) == 0 {
		return n
	}
	if r.rng.IntN(3) == 0 {
		return r.pick(tempNames)
	}
	return r.pick(ltxNames)
}

// stagedName is the name of any staged file.
func (r *run) stagedName(u *user) (fileName, bool) {
	var staged []fileName
	for _, n := range slices.Concat(ltxNames, tempNames) { // in an order that a seed repeats
		if u.staged[n] != nil {
			staged = append(staged, n)
		}
	}
	if len(staged) == 0 {
		return fileName{}, false
	}
	return r.pick(staged), true
}

// path is a name by one of the ways to it.
func (r *run) path(n fileName) string { return path.Join(r.levelPath(n.level), n.name) }

func (r *run) levelPath(level int) string {
	switch r.rng.IntN(4) {
	case 0:
		return "ltx/" + strconv.Itoa(level)
	case 1:
		if level == replica.SnapshotLevel {
			return "snapshots"
		}
	}
	return path.Dir(fileName{level, "x"}.String())
}

// outcomes are the results that are right for a call on a published file, or none.
func (r *run) outcomes(u *user, n fileName, at time.Time, present, absent error) []error {
	var right []error
	canBe, canNotBe := u.can(n, at)
	if canBe {
		right = append(right, present)
	}
	if canNotBe {
		right = append(right, absent)
	}
	return right
}

// showed checks what reading a whole file by its name gave.
func (r *run) showed(u *user, n fileName, at time.Time, data []byte, err error) {
	r.t.Helper()
	if s := u.staged[n]; s != nil {
		r.check(err == nil, "%s: read staged %s: %v", u.name, n, err)
		r.check(bytes.Equal(data, s.data), "%s: read staged %s: %s", u.name, n, r.compare(n, data, s.data))
		return
	}
	if err == nil {
		r.check(u.saw(n, at, sameBytes(data)), "%s: read %s: %s", u.name, n, r.compare(n, data))
		return
	}
	r.check(err == syscall.ENOENT, "%s: read %s: %v", u.name, n, err)
	r.check(u.sawFile(n, at, false), "%s: read %s: there is none, but there must be one: %s", u.name, n, r.compare(n, nil))
}

// compare says of bytes that are wrong what they look like.
func (r *run) compare(n fileName, data []byte, right ...[]byte) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "got %d bytes, %.12s", len(data), ltxfstest.SHA256(data))
	for _, want := range right {
		fmt.Fprintf(&b, "\nwant %d bytes, %.12s, of which the first %d are the same", len(want), ltxfstest.SHA256(want), commonPrefix(data, want))
	}
	for i, s := range r.history(n) {
		if i < len(r.history(n))-20 {
			continue
		}
		ended := "now"
		if !s.until.IsZero() {
			ended = "until " + time.Since(s.until).String() + " ago"
		}
		if s.content == nil {
			fmt.Fprintf(&b, "\nin the replica %d: nothing, %s", i, ended)
			continue
		}
		fmt.Fprintf(&b, "\nin the replica %d: %d bytes, %.12s, %v, of which the first %d are the same, %s",
			i, len(s.content.data), ltxfstest.SHA256(s.content.data), s.content.modTime, commonPrefix(data, s.content.data), ended)
	}
	for _, u := range r.users {
		fmt.Fprintf(&b, "\n%s may show %d and later, and stages it: %v", u.name, u.oldest[n], u.staged[n] != nil)
	}
	return b.String()
}

func (r *run) readFile(u *user) {
	n := r.anyName(u)
	p := r.path(n)
	r.note("%s: read %s by %s", u.name, n, p)
	at := time.Now()
	data, err := u.p.ReadFile(p)
	r.showed(u, n, at, data, err)
}

// stat checks size and time.
func (r *run) stat(u *user) {
	n := r.anyName(u)
	p := r.path(n)
	r.note("%s: stat %s by %s", u.name, n, p)
	at := time.Now()
	st, err := u.p.Stat(p)
	r.showedStat(u, n, at, st, err)
}

func (r *run) showedStat(u *user, n fileName, at time.Time, st ltxfstest.Stat, err error) {
	r.t.Helper()
	if s := u.staged[n]; s != nil {
		r.check(err == nil, "%s: stat staged %s: %v", u.name, n, err)
		r.check(st.Size == int64(len(s.data)), "%s: stat staged %s: %d bytes, want %d", u.name, n, st.Size, len(s.data))
		return
	}
	if err == nil {
		r.check(u.saw(n, at, sameStat(st)), "%s: stat %s: %d bytes, %v: %s", u.name, n, st.Size, st.ModTime, r.compare(n, nil))
		return
	}
	r.check(err == syscall.ENOENT, "%s: stat %s: %v", u.name, n, err)
	r.check(u.sawFile(n, at, false), "%s: stat %s: there is none, but there must be one: %s", u.name, n, r.compare(n, nil))
}

func sameStat(st ltxfstest.Stat) func(*content) bool {
	return func(c *content) bool {
		return c != nil && int64(len(c.data)) == st.Size && c.modTime.Equal(st.ModTime)
	}
}

// list checks the names of a level and, sometimes, as ls -l does, each of them.
func (r *run) list(u *user) {
	level := levels[r.rng.IntN(len(levels))]
	p := r.levelPath(level)
	long := r.rng.IntN(2) == 0
	r.note("%s: list %s, long: %v", u.name, p, long)
	for _, name := range r.listLevel(u, p) {
		if long {
			at := time.Now()
			st, err := u.p.Stat(p + "/" + name)
			r.showedStat(u, fileName{level, name}, at, st, err)
		}
	}
}

func (r *run) listLevel(u *user, p string) []string {
	r.t.Helper()
	level := replica.SnapshotLevel
	if p != "snapshots" {
		level, _ = strconv.Atoi(path.Base(p))
	}
	at := time.Now()
	names, err := u.p.ReadDir(p)
	r.check(err == nil, "%s: list %s: %v", u.name, p, err)
	r.check(len(slices.Compact(slices.Clone(names))) == len(names), "%s: list %s: a name twice: %v", u.name, p, names)
	known := map[string]bool{}
	for _, n := range slices.Concat(ltxNames, tempNames) {
		if n.level != level {
			continue
		}
		known[n.name] = true
		listed := slices.Contains(names, n.name)
		if u.staged[n] != nil {
			r.check(listed, "%s: list %s: staged %s is missing from %v", u.name, p, n.name, names)
			continue
		}
		r.check(u.sawFile(n, at, listed), "%s: list %s: %s listed: %v: %s", u.name, p, n.name, listed, r.compare(n, nil))
	}
	for _, name := range names {
		r.check(known[name], "%s: list %s: a strange name: %s", u.name, p, name)
	}
	return names
}

// openToRead opens a file and reads parts of it, and then perhaps keeps it open.
func (r *run) openToRead(u *user) {
	if len(u.handles) >= maxHandles {
		r.close(u, u.handles[0])
	}
	h := r.openReadOnly(u, r.anyName(u))
	if h == nil {
		return
	}
	for range r.rng.IntN(4) {
		r.readPart(u, h)
	}
	if r.rng.IntN(3) == 0 {
		r.close(u, h)
	}
}

func (r *run) openReadOnly(u *user, n fileName) *handle {
	p := r.path(n)
	r.note("%s: open %s by %s to read", u.name, n, p)
	h := &handle{name: n, staged: u.staged[n], canRead: true, opened: len(r.history(n))}
	at := time.Now()
	var err error
	h.f, err = u.p.Open(p, unix.O_RDONLY, 0)
	if h.staged != nil {
		r.wantOneOf(err, nil)
		h.staged.handles++
	} else {
		r.wantOneOf(err, r.outcomes(u, n, at, nil, syscall.ENOENT)...)
		r.check(u.sawFile(n, at, err == nil), "open %s: %v: %s", n, err, r.compare(n, nil))
		if err != nil {
			return nil
		}
		for _, i := range u.may(n, at) {
			if c := r.history(n)[i].content; c != nil {
				h.versions = append(h.versions, c)
			}
		}
	}
	u.handles = append(u.handles, h)
	return h
}

// readPart reads a range of an open file, or its size.
func (r *run) readPart(u *user, h *handle) {
	size := 0
	if h.staged != nil {
		size = len(h.staged.data)
	} else {
		size = len(h.versions[0].data)
	}
	off, n := r.rng.IntN(size+10), 1+r.rng.IntN(size+10)
	if r.rng.IntN(4) == 0 {
		off, n = 0, size+1 // the whole file, and its end
	}
	r.note("%s: read %d bytes at %d of %s", u.name, n, off, h.name)
	if h.staged != nil && r.rng.IntN(3) == 0 {
		st, err := h.f.Stat()
		r.check(err == nil && st.Size == int64(size), "fstat: %d bytes, %v, want %d", st.Size, err, size)
	}
	data, err := h.f.ReadAt(n, int64(off))
	part := func(all []byte) []byte { return all[min(off, len(all)):min(off+n, len(all))] }
	if h.staged != nil {
		r.wantOneOf(err, nil)
		r.check(bytes.Equal(data, part(h.staged.data)), "the first %d of %d bytes are right", commonPrefix(data, part(h.staged.data)), len(data))
		return
	}
	right := []error{nil}
	if len(r.history(h.name)) > h.opened || len(h.versions) > 1 {
		right = append(right, syscall.ESTALE)
	}
	r.wantOneOf(err, right...)
	// All that the handle has ever shown is of one version.
	var still []*content
	for _, c := range h.versions {
		want := part(c.data)
		if bytes.Equal(data, want) || err != nil && bytes.HasPrefix(want, data) {
			still = append(still, c)
		}
	}
	r.check(len(still) > 0, "bytes of no version that was opened, or of another than before: %s", r.compare(h.name, data))
	h.versions = still
}
