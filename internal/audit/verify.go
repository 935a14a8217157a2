package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/integrity"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// Options say what is verified, and who is told. Done is called by many goroutines at once,
// Begin once for each listing, and Found once all files are read.
type Options struct {
	Levels []int     // whose files are looked at
	Since  time.Time // files from then on are, by the store's time
	Quick  bool      // no more of a file is read than header, page index and trailer
	Subset Subset    // of the files, of which all bytes are read

	Check  integrity.Check // of databases
	States int             // so many of the newest; below 0, all

	Found func(*Finding)               // is called with each finding, one at a time
	Begin func(files int, bytes int64) // before files are read, so many and of that size
	Done  func(files int, bytes int64) // so many more are
}

// Report is what a verification has shown.
type Report struct {
	Stages   []StageReport
	States   int     // that the names say can be restored
	Lost     []Range // of these, those that can't be
	Movable  []Range // of these, those that can be once damaged files are moved away
	Newest   *State
	Proven   *State // the newest of whose files all bytes were read, and sound
	Findings map[Severity]int
}

// StageReport is what a stage has shown.
type StageReport struct {
	Stage    Stage
	Done, Of int   // files, or states of the last stage
	Bytes    int64 // that were read
	Findings int
}

const (
	// mostRoom is the memory that parts of files are unpacked in at the same time, and
	// leastRoom what it is in a small budget, both in bytes.
	mostRoom, leastRoom = 32 << 20, 8 << 20

	// partSize is how much of a file is a part, in bytes, and partFrames how many frames.
	partSize   = 4 << 20
	partFrames = 16 << 10

	// resultSize is about what is kept of each file, in bytes, with the numbers of keptPages
	// pages.
	resultSize = 1024
	keptPages  = 128

	// maxUnread is how many files can't be read before no more are tried: a store that is
	// gone isn't waited for again and again.
	maxUnread = 3
)

// Verify finds out whether a replica is sound, stage by stage. An error is a question that
// stayed open.
func Verify(ctx context.Context, r *offline.Replica, opts Options) (*Report, error) {
	room := min(max(r.Budget.Size()/4, leastRoom), mostRoom)
	r.Memory.Add(room)
	v := &verifier{
		r: r, opts: opts, room: semaphore.NewWeighted(room), results: map[fileKey]*result{},
		findings: map[Stage]int{}, report: &Report{Findings: map[Severity]int{}},
	}
	var c *chains
	err := r.States.Current(ctx, func(t *database.Timeline) error {
		c = &chains{v: v, t: t}
		v.differ = nil
		err := v.files(ctx, t)
		if database.IsGone(err) {
			return err // and the files are listed anew
		}
		err = cmp.Or(err, c.walk(ctx)) // what was read is told at any rate
		if err == nil && !opts.Quick {
			err = v.compactions(ctx, t)
		}
		return err
	})
	if c == nil {
		return v.report, err
	}
	t := c.t
	uses := usesOf(t)
	v.names(t)
	v.damaged(t, uses)
	v.conflicts(t, uses)
	v.incompacted(t, uses)
	c.found()
	for _, f := range v.unread {
		v.found(f)
	}
	c.addLost()
	var stage *StageReport
	if err == nil && opts.Check != integrity.None {
		stage = &StageReport{Stage: Databases}
		*stage, err = v.databases(ctx, c)
	}
	v.report.States, v.report.Lost = t.Len(), c.lost.ranges(t)
	v.report.Newest, v.report.Proven = c.newest(), c.lastProven()
	if len(c.lost) > 0 {
		v.report.Movable = c.movable(ctx)
	}
	v.stages(t, stage)
	return v.report, err
}

// stages says what each stage has shown.
func (v *verifier) stages(t *database.Timeline, last *StageReport) {
	files, looked, whole, indexed := 0, 0, 0, 0
	var size int64
	for f := range t.Files() {
		files++
		res := v.results[keyOf(f)]
		if res == nil {
			continue
		}
		looked++
		last := Bytes // that it was looked at in
		if res.Err != nil {
			last = ofFile(f, res.Err).Stage
		}
		if last != Headers {
			indexed++
		}
		if last == Bytes && res.whole {
			whole++
			size += f.Size
		}
	}
	v.report.Stages = []StageReport{
		{Stage: Names, Done: files, Of: files},
		{Stage: Headers, Done: looked, Of: files},
		{Stage: Indexes, Done: indexed, Of: files},
		{Stage: Bytes, Done: whole, Of: files, Bytes: size},
	}
	if last != nil {
		v.report.Stages = append(v.report.Stages, *last)
	}
	for i := range v.report.Stages {
		s := &v.report.Stages[i]
		s.Findings = v.findings[s.Stage]
	}
}

type verifier struct {
	r    *offline.Replica
	opts Options
	room *semaphore.Weighted // in bytes

	mu      sync.Mutex
	results map[fileKey]*result
	unread  []*Finding    // of the last pass
	differ  []*compaction // of the last pass

	findings       map[Stage]int
	lost, doubtful []Range // of all findings
	report         *Report
}

// fileKey is one version of a file.
type fileKey struct {
	replica.Name
	replica.Version
}

func keyOf(f replica.File) fileKey { return fileKey{f.Name, f.Version} }

// result is what verifying a file has shown.
type result struct {
	File
	pages      []uint32 // their numbers, if they are few
	many       bool     // they aren't
	whole      bool     // all its bytes were read
	restorable bool     // Litestream restores from it, though Err is not nil
	content    uint64   // tells pages of one content from others, if whole
}

// note keeps the number of a page.
func (r *result) note(pgno uint32) {
	if r.many = r.many || len(r.pages) == keptPages; r.many {
		r.pages = nil
		return
	}
	r.pages = append(r.pages, pgno)
}

// isTaken reports whether Litestream restores from a file, sound or not.
func (r *result) isTaken() bool { return r.Err == nil || r.restorable || r.inChains() }

// endsNone reports whether Litestream restores from a file, but no state of which it is the
// last: it makes a file with the checksum and the size of the database that the last one has.
func (r *result) endsNone() bool {
	return r.isTaken() && (r.Header.Commit == 0 || ltxfile.PartOf(r.Err) == ltxfile.Trailer)
}

func (v *verifier) found(f *Finding) {
	v.findings[f.Stage]++
	v.lost, v.doubtful = append(v.lost, f.Lost...), append(v.doubtful, f.Doubtful...)
	v.report.Findings[f.Severity]++
	v.opts.Found(f)
}

// files verifies those of a timeline that weren't before. Its error wraps os.ErrNotExist or
// replica.ErrReplaced if one was gone.
func (v *verifier) files(ctx context.Context, t *database.Timeline) error {
	var todo []replica.File
	for f := range t.Files() {
		if v.results[keyOf(f)] == nil && slices.Contains(v.opts.Levels, f.Level) && !f.ModTime.Before(v.opts.Since) {
			todo = append(todo, f)
		}
	}
	whole := map[replica.Name]bool{}
	if !v.opts.Quick {
		whole = v.opts.Subset.pick(todo)
	}
	var size int64
	for _, f := range todo {
		size += toRead(f, whole[f.Name])
	}
	v.opts.Begin(len(todo), size)
	var gone error
	v.unread = nil
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, f := range todo {
		g.Go(func() error {
			v.mu.Lock()
			tried := len(v.unread) < maxUnread
			v.mu.Unlock()
			if !tried || ctx.Err() != nil {
				return context.Cause(ctx)
			}
			res, err := v.file(ctx, f, whole[f.Name])
			v.mu.Lock()
			defer v.mu.Unlock()
			switch {
			case err == nil:
				v.results[keyOf(f)] = res
				v.r.Memory.Add(resultSize)
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case database.IsGone(err):
				gone = err
			default:
				v.unread = append(v.unread, &Finding{Code: Unread, Severity: Open, Stage: Bytes, File: pathOf(f.Name), Detail: detail(err),
					Advice: "verify again once it can be read"})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if n := len(v.unread); n >= maxUnread {
		return fmt.Errorf("%d files can't be read, after which no more were tried: verify again once the replica can be reached", n)
	}
	return gone
}

// toRead is how much of a file is read, in bytes.
func toRead(f replica.File, whole bool) int64 {
	if whole {
		return f.Size
	}
	return min(f.Size, smallFile)
}

// damaged reports files that aren't sound by themselves.
func (v *verifier) damaged(t *database.Timeline, uses map[replica.Name]Range) {
	for f := range t.Files() {
		res := v.results[keyOf(f)]
		if res == nil || res.Err == nil || res.inChains() {
			continue
		}
		n := ofFile(f, res.Err)
		switch use, used := uses[f.Name]; {
		case used && res.endsNone():
			n.Lost = []Range{{use.Min, use.Min}}
			if i, _ := t.Search(use.Min); use.Max > use.Min {
				n.Doubtful = []Range{{t.TXID(i + 1), use.Max}}
			}
		case used && res.restorable:
			n.Doubtful = []Range{use}
			if n.Code == BadIndex {
				n.Advice = "restore with litestream restore, which needs no page index, or " + n.Advice
			}
		case used:
			n.Lost = []Range{use}
		}
		v.found(n)
	}
}

// inChains reports whether what damage costs shows only beside the files before and after.
func (r *result) inChains() bool {
	return isOtherName(r.Err) || ltxfile.IsIncomplete(r.Err) && r.restorable
}

// usesOf are the states, the first and the last of a row without others between them, that
// Litestream reads each file for.
func usesOf(t *database.Timeline) map[replica.Name]Range {
	uses := map[replica.Name]Range{}
	var plan []replica.Name
	last := ltx.TXID(0)
	end := func(names []replica.Name) {
		for _, n := range names {
			u := uses[n]
			u.Max = last
			uses[n] = u
		}
	}
	for step := range t.Plans() {
		end(plan[step.Keep:])
		plan = append(plan[:step.Keep], step.File.Name)
		uses[step.File.Name] = Range{Min: step.TXID}
		last = step.TXID
	}
	end(plan)
	return uses
}

// file verifies a file. An error is of reading it; that it isn't sound is in the result.
func (v *verifier) file(ctx context.Context, f replica.File, whole bool) (*result, error) {
	h := v.r.Blocks.Open(v.r.ID, v.r.Store, f)
	defer h.Close()
	res := &result{File: File{File: f}, whole: whole}
	if res.whole {
		v.bytes(ctx, h, res)
	} else {
		res.Contents, res.Err = readNamed(ctx, v.r, h, f, func(_ ltx.Header, fr ltxfile.Frame) error {
			res.note(fr.Pgno)
			return nil
		})
		v.opts.Done(0, toRead(f, false))
	}
	defer v.opts.Done(1, 0)
	if res.Err == nil {
		return res, nil
	}
	if !ltxfile.IsInvalid(res.Err) {
		return nil, res.Err
	}
	// It is read anew and whole: the store can have given something else once, and what
	// damage costs depends on the rest of the file.
	h.Forget(0, f.Size)
	res.whole = true
	header, err := ltxfile.Verify(ctx, h.Within(ctx), f.Size)
	switch named := named(f.Name, header, err); {
	case named == nil:
		v.opts.Begin(0, f.Size)
		v.bytes(ctx, h, res)
		return res, notOfBytes(res.Err)
	case !ltxfile.IsInvalid(named):
		return nil, err
	default:
		res.Err = named
	}
	if err == nil {
		return res, nil
	}
	if err = ltxfile.Restorable(ctx, h.Within(ctx), f.Size); notOfBytes(err) != nil {
		return nil, err
	}
	if res.restorable = err == nil; !res.restorable && ltxfile.IsIncomplete(res.Err) {
		res.Err = named(f.Name, header, err) // which hides the pages that it lacks
	}
	return res, nil
}

// notOfBytes is an error, unless that is of a file's bytes.
func notOfBytes(err error) error {
	if ltxfile.IsInvalid(err) {
		return nil
	}
	return err
}

// bytes reads all of a file, part by part, many at once.
func (v *verifier) bytes(ctx context.Context, h *blocks.Handle, res *result) {
	g, ctx := errgroup.WithContext(ctx)
	in := partly(ctx, v.r, h, res.File.File)
	var frames []ltxfile.Frame
	var sums []*ltxfile.Sum
	header, n, left := ltx.Header{}, int64(0), res.Size
	res.pages, res.many = nil, false
	flush := func() error {
		header, part, size, sum := header, frames, n, new(ltxfile.Sum)
		left -= size
		frames, n, sums = nil, 0, append(sums, sum)
		if err := v.room.Acquire(ctx, size); err != nil {
			return context.Cause(ctx)
		}
		g.Go(func() (err error) {
			defer v.opts.Done(0, size)
			defer v.room.Release(size)
			buf := make([]byte, size)
			if _, err := in.ReadAt(buf, part[0].Offset); err != nil {
				return err
			}
			*sum, err = ltxfile.SumFrames(header, part, buf)
			return err
		})
		return nil
	}
	c, err := readNamed(ctx, v.r, h, res.File.File, func(hd ltx.Header, f ltxfile.Frame) error {
		header, frames, n = hd, append(frames, f), n+f.Size
		res.note(f.Pgno)
		if n < partSize && len(frames) < partFrames {
			return nil
		}
		return flush()
	})
	if err == nil && n > 0 {
		err = flush()
	}
	v.opts.Done(0, left)
	// What a part has shown ended the rest.
	if failed := g.Wait(); failed != nil && !ltxfile.IsInvalid(err) {
		err = failed
	}
	if err == nil {
		sum := c.before
		for _, s := range sums {
			sum = sum.Then(*s)
		}
		res.content = sum.Content
		err = sum.Then(c.after).Check(c.Header, c.Trailer)
	}
	res.Contents, res.Err = c, err
}
