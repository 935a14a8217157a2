package index

import (
	"os"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// answer is what was true of a name at a moment: by an own change, or by what the
// store said to a question that began then.
type answer struct {
	file   replica.File // if there is none, no more than its name
	exists bool
	began  time.Time
	seq    uint64 // when that was among the index's events
}

// change is what this mount did last to a name.
type change = answer

// answer is rows 1 to 4 of the table in the package's comment. asked is a stat that the
// caller has waited for, if any: it counts however old it is. ok is false if the store
// must be asked. Index.mu is held.
func (x *Index) answer(name replica.Name, asked *stat) (a answer, ok bool) {
	lv := &x.levels[name.Level]
	own := lv.own.changes[name]
	landed, _ := x.stats.Get(name)
	listed := x.listed(lv, name)
	switch {
	case asked != nil:
		a = asked.answer // row 4
	case own != nil && x.recent(lv, own.began, own.seq):
		return *own, true // row 1
	case listed != nil:
		a = listed.answer(name) // row 3
	case landed != nil && landed.landed && x.recent(lv, landed.began, landed.seq):
		a = landed.answer // row 4
	default:
		return answer{}, false
	}
	if own != nil && own.outlives(a, x.opts.Settle) { // row 2
		if own.seq > a.seq {
			return *own, true
		}
		a.file, a.exists = own.file, own.exists
	}
	return a, true
}

// listed is the recent listing that tells of a name, or nil.
func (x *Index) listed(lv *levelIndex, name replica.Name) *Snapshot {
	if x.recent(lv, lv.base.began, lv.base.seq) {
		return lv.base
	}
	if l := lv.listing; l != nil && l.found != nil && x.recent(lv, l.began, l.seq) && name.Compare(l.found.Name(l.found.Len()-1)) <= 0 {
		return l.found
	}
	return nil
}

// recent tells whether what began at that time and event is still an answer.
func (x *Index) recent(lv *levelIndex, began time.Time, seq uint64) bool {
	return seq > lv.invalid && x.opts.Now().Sub(began) < x.opts.Freshness
}

// outlives is row 2: whether a change wins over what the store said, because it came
// after the question, or because the store contradicts it before it can be expected
// to have settled.
func (c *change) outlives(said answer, settle time.Duration) bool {
	return c.seq > said.seq || said.began.Sub(c.began) < settle && c.contradicts(said)
}

// contradicts tells whether what the store says isn't what the change made. The
// ModTime doesn't count: a store may tell the upload's.
func (c *change) contradicts(said answer) bool {
	if c.exists && said.exists {
		return c.file.Version != said.file.Version
	}
	return c.exists != said.exists
}

// known is row 5: the time of a version of a file, if the snapshot has that version. It
// may be called by many at once.
//
// A version has one LTX timestamp, and a store such as S3 lists another time, that
// of the upload. So the time of what this mount wrote, and one that was found
// exactly, stay for as long as the store shows that version: each snapshot has them
// from the one before it.
func (s *Snapshot) known(f replica.File) (time.Time, bool) {
	i, ok := s.Search(f.Name)
	if !ok || !s.isVersion(i, f.Version) {
		return time.Time{}, false
	}
	b, at := s.at(i)
	return unpackTime(int64(b.mtime.at(at))), true
}

// known is Snapshot.known with the own changes since.
func (lv *levelIndex) known(f replica.File) (time.Time, bool) {
	if c := lv.own.changes[f.Name]; c != nil && c.exists && c.file.Version == f.Version {
		return c.file.ModTime, true
	}
	return lv.base.known(f)
}

// version is the version that was last known by a name, or none.
func (lv *levelIndex) version(name replica.Name) replica.Version { return lv.said(name).file.Version }

// said is what the last listing and own changes say of a name.
func (lv *levelIndex) said(name replica.Name) answer {
	a := lv.base.answer(name)
	if c := lv.own.changes[name]; c != nil {
		a.file, a.exists = c.file, c.exists
	}
	return a
}

// answer is what a snapshot says of a name.
func (s *Snapshot) answer(name replica.Name) answer {
	a := answer{file: replica.File{Name: name}, began: s.began, seq: s.seq}
	i, ok := s.Search(name)
	if ok {
		a.file, a.exists = s.At(i), true
	}
	return a
}

// result is an answer as Find returns it, with how long it may be given again.
func (x *Index) result(a answer) (replica.File, time.Duration, error) {
	validFor := max(x.opts.Freshness-x.opts.Now().Sub(a.began), 0)
	if !a.exists {
		return replica.File{}, validFor, replica.NewFileError("stat", a.file.Name, os.ErrNotExist)
	}
	return a.file, validFor, nil
}
