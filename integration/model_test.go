package integration

import (
	"bytes"
	"crypto/sha256"
	"syscall"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// fileName is a name in the directory of a level, an LTX file's or not.
type fileName struct {
	level int
	name  string
}

func (n fileName) String() string { return ltxfstest.LevelPath(n.level, n.name) }

// isLTX reports whether the replica can hold a file of that name.
func (n fileName) isLTX() bool {
	_, _, err := ltx.ParseFilename(n.name)
	return err == nil
}

// content is one content of a file in the replica.
type content struct {
	data    []byte
	modTime time.Time
}

// state is what the replica holds under a name for some time: a content, or
// nothing.
type state struct {
	content *content
	until   time.Time // when the change that ended it had returned, unless it is the last
}

// txidRange is what an LTX header says of a file's name.
type txidRange struct{ min, max ltx.TXID }

// model is what the replica has held, by name, and which bytes are valid LTX
// files.
type model struct {
	freshness, slack time.Duration

	states map[fileName][]state
	valid  map[[sha256.Size]byte]txidRange

	// stalest is how long ago a change was, at most, that a mount did not
	// show yet.
	stalest time.Duration
}

func newModel(freshness, slack time.Duration) *model {
	return &model{
		freshness: freshness, slack: slack,
		states: map[fileName][]state{},
		valid:  map[[sha256.Size]byte]txidRange{},
	}
}

// history is what the replica has held under a name, last what it holds now.
func (m *model) history(n fileName) []state {
	if m.states[n] == nil {
		m.states[n] = []state{{}}
	}
	return m.states[n]
}

// now is what the replica holds under a name, or nil.
func (m *model) now(n fileName) *content {
	h := m.history(n)
	return h[len(h)-1].content
}

// set notes a change of the replica that has just returned.
func (m *model) set(n fileName, c *content) {
	h := m.history(n)
	last := &h[len(h)-1]
	if last.content == nil && c == nil {
		return
	}
	last.until = time.Now()
	m.states[n] = append(h, state{content: c})
}

// addValid notes that bytes are a valid LTX file.
func (m *model) addValid(data []byte, minTXID, maxTXID ltx.TXID) {
	m.valid[sha256.Sum256(data)] = txidRange{minTXID, maxTXID}
}

// verdict is the errno of publishing bytes under a name.
func (m *model) verdict(data []byte, n fileName) error {
	minTXID, maxTXID, _ := ltx.ParseFilename(n.name)
	is, ok := m.valid[sha256.Sum256(data)]
	switch {
	case minTXID > maxTXID: // a name that no header can agree with
		return syscall.EINVAL
	case !ok:
		return syscall.EBADMSG
	case is != txidRange{minTXID, maxTXID}:
		return syscall.EINVAL
	}
	return nil
}

// view is what one mount shows of the replica, and what is staged in it.
type view struct {
	*model
	// oldest is the oldest state of each name that the mount may still show.
	oldest map[fileName]int
	staged map[fileName]*stagedFile
}

func newView(m *model) *view {
	return &view{model: m, oldest: map[fileName]int{}, staged: map[fileName]*stagedFile{}}
}

// may are the states of a name, as indices of its history, that the mount may
// show to a call that begins at a time: those that haven't been over for longer
// than the freshness interval, and none from before its own last change. It may
// show one that is over again after a later one: what it has listed and what the
// kernel remembers of a name are of different ages.
func (v *view) may(n fileName, at time.Time) []int {
	h := v.history(n)
	var may []int
	for i := v.oldest[n]; i < len(h); i++ {
		if i == len(h)-1 || at.Sub(h[i].until) <= v.freshness+v.slack {
			may = append(may, i)
		}
	}
	return may
}

// can tells whether the mount may show a published file under a name, and
// whether it may show none.
func (v *view) can(n fileName, at time.Time) (present, absent bool) {
	if !n.isLTX() {
		return false, true
	}
	for _, i := range v.may(n, at) {
		if v.history(n)[i].content != nil {
			present = true
		} else {
			absent = true
		}
	}
	return present, absent
}

// saw reports whether the mount may show this to a call that began at a time.
func (v *view) saw(n fileName, at time.Time, matches func(*content) bool) bool {
	if !n.isLTX() {
		return matches(nil)
	}
	h := v.history(n)
	last := -1
	for _, i := range v.may(n, at) {
		if matches(h[i].content) {
			last = i
		}
	}
	if last >= 0 && last < len(h)-1 {
		v.stalest = max(v.stalest, at.Sub(h[last].until))
	}
	return last >= 0
}

// sawFile is saw for whether there is a published file.
func (v *view) sawFile(n fileName, at time.Time, present bool) bool {
	return v.saw(n, at, func(c *content) bool { return (c != nil) == present })
}

// changed notes a change of the replica by the mount itself, which it shows at
// once.
func (v *view) changed(n fileName, c *content) {
	v.set(n, c)
	v.forgetOlder(n)
}

// forgetOlder notes that the mount may show the present state of a name and no
// older one.
func (v *view) forgetOlder(n fileName) { v.oldest[n] = len(v.history(n)) - 1 }

// stagedFile is a file of a mount that is not published.
type stagedFile struct {
	name   fileName
	linked bool
	data   []byte
	// replaces is set if this began by emptying a published file. If it is
	// empty, it holds nothing of its user's, and goes with its last handle.
	replaces bool
	// unsure is set if the mount needn't have known of the published file. Then
	// it must not be empty when a handle is closed.
	unsure bool
	// exclusive is set if the replica must have no file of the name when this is
	// published under it.
	exclusive bool
	handles   int
	published *content
}

// unused reports whether the file holds nothing of its user's.
func (s *stagedFile) unused() bool { return s.replaces && len(s.data) == 0 }

// canPublish reports whether fsync publishes the file, and close unless it is
// empty.
func (s *stagedFile) canPublish() bool { return s.linked && s.published == nil && s.name.isLTX() }

// write changes the content.
func (s *stagedFile) write(data []byte, off int64) {
	s.truncate(max(int64(len(s.data)), off+int64(len(data))))
	copy(s.data[off:], data)
}

func (s *stagedFile) truncate(size int64) {
	data := make([]byte, size)
	copy(data, s.data)
	s.data = data
}

func (v *view) stage(n fileName, replaces, unsure bool) *stagedFile {
	s := &stagedFile{name: n, linked: true, replaces: replaces, unsure: unsure}
	v.staged[n] = s
	return s
}

func (v *view) unlink(s *stagedFile) {
	delete(v.staged, s.name)
	s.linked = false
}

func (v *view) rename(s *stagedFile, to fileName) {
	if old := v.staged[to]; old != nil {
		v.unlink(old)
	}
	delete(v.staged, s.name)
	s.name, s.replaces, s.unsure, s.exclusive = to, false, false, false
	v.staged[to] = s
}

// release notes that a handle was closed, and reports whether the file went with
// it.
func (v *view) release(s *stagedFile) (gone bool) {
	s.handles--
	gone = s.handles == 0 && s.linked && s.unused()
	if gone {
		v.unlink(s)
	}
	return gone
}

// publish notes that the mount has published a staged file.
func (v *view) publish(s *stagedFile, as fileName) {
	if s.linked {
		v.unlink(s)
	}
	if old := v.staged[as]; old != nil {
		v.unlink(old)
	}
	s.published = &content{data: s.data, modTime: headerTime(s.data)}
	v.changed(as, s.published)
}

// headerTime is the timestamp of a valid LTX file.
func headerTime(data []byte) time.Time {
	var h ltx.Header
	if err := h.UnmarshalBinary(data[:ltx.HeaderSize]); err != nil {
		panic(err)
	}
	return time.UnixMilli(h.Timestamp).UTC()
}

// commonPrefix is how many bytes two contents begin with alike.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// sameBytes returns a test for a content.
func sameBytes(data []byte) func(*content) bool {
	return func(c *content) bool { return c != nil && bytes.Equal(c.data, data) }
}
