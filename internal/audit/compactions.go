package audit

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/replica"
)

// compaction is a file and those of the level below that Litestream made it of.
type compaction struct {
	file *result
	of   []*result

	lacks, adds uint32 // the first page that only the others have, and that only it has
}

// compactions compares the pages that files have with those of what they were made of, as far
// as that is still there: a page that was left out shows nowhere else.
func (v *verifier) compactions(ctx context.Context, t *database.Timeline) error {
	var levels [replica.MaxLevel + 1][]replica.File // by ascending min TXID
	for f := range t.Files() {
		levels[f.Level] = append(levels[f.Level], f)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for level := 1; level < replica.SnapshotLevel; level++ {
		for _, f := range levels[level] {
			if c := v.madeOf(f, levels[level-1]); c != nil {
				g.Go(func() error {
					if err := v.compare(ctx, c); !database.IsGone(err) { // as where Litestream deletes it
						return err
					}
					return nil
				})
			}
		}
	}
	return g.Wait()
}

// madeOf is what a file was made of, or nil if not all of that is there and sound, or it is
// compared already.
func (v *verifier) madeOf(f replica.File, below []replica.File) *compaction {
	c := &compaction{file: v.results[keyOf(f)]}
	if c.file == nil || c.file.Err != nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(below, f, func(a, b replica.File) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	at := f.MinTXID
	for ; i < len(below) && below[i].MinTXID <= f.MaxTXID; i++ {
		res := v.results[keyOf(below[i])]
		if res == nil || res.Err != nil || res.MinTXID != at || res.MaxTXID > f.MaxTXID || res.Header.PageSize != c.file.Header.PageSize {
			return nil
		}
		c.of, at = append(c.of, res), res.MaxTXID+1
	}
	if at != f.MaxTXID+1 || len(c.of) == 1 && c.file.whole && c.of[0].whole {
		return nil
	}
	return c
}

// compare finds pages that only one side of a compaction has. Such as the database doesn't
// have in the end don't count.
func (v *verifier) compare(ctx context.Context, c *compaction) error {
	last := c.file.Header.Commit
	words := int64(last)/64 + 1
	if 8*words > leastRoom { // of a database of 64 Mi pages, which Litestream hardly has
		return nil
	}
	if v.room.Acquire(ctx, 8*words) != nil {
		return context.Cause(ctx)
	}
	defer v.room.Release(8 * words)
	set := make([]uint64, words)
	each := func(res *result, add func(word *uint64, bit uint64, pgno uint32)) error {
		return v.pages(ctx, res, func(pgno uint32) {
			if pgno <= last {
				add(&set[pgno/64], 1<<(pgno%64), pgno)
			}
		})
	}
	for _, res := range c.of {
		if err := each(res, func(word *uint64, bit uint64, _ uint32) { *word |= bit }); err != nil {
			return err
		}
	}
	err := each(c.file, func(word *uint64, bit uint64, pgno uint32) {
		if *word&bit == 0 && c.adds == 0 {
			c.adds = pgno
		}
		*word &^= bit
	})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(set, func(word uint64) bool { return word != 0 }); i >= 0 {
		c.lacks = uint32(64*i + bits.TrailingZeros64(set[i]))
	}
	if c.lacks != 0 || c.adds != 0 {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.differ = append(v.differ, c)
	}
	return nil
}

// incompacted reports files that have other pages than what they were made of. Whoever lacks
// one is wrong, and what was made of it: pages get lost, but don't appear.
func (v *verifier) incompacted(t *database.Timeline, uses map[replica.Name]Range) {
	slices.SortFunc(v.differ, func(a, b *compaction) int { return a.file.Compare(b.file.Name) })
	for _, c := range v.differ {
		if c.lacks != 0 {
			v.found(&Finding{Code: Conflict, Severity: Damage, Stage: Indexes, File: pathOf(c.file.Name),
				Detail:   fmt.Sprintf("it lacks page %d, which %s and those after it, of the same transactions, have", c.lacks, pathOf(c.of[0].Name)),
				Doubtful: through(t, uses, c.file.Name),
				Advice:   "restore from those, this one moved away, and compare the databases"})
		}
		if c.adds != 0 {
			n := &Finding{Code: Conflict, Severity: Damage, Stage: Indexes, File: pathOf(c.of[0].Name),
				Detail: fmt.Sprintf("neither it nor those after it have page %d, which %s, of the same transactions, has", c.adds, pathOf(c.file.Name)),
				Advice: "restore from that one, these moved away, and compare the databases"}
			for _, res := range c.of {
				if use, ok := uses[res.Name]; ok {
					n.Doubtful = append(n.Doubtful, use)
				}
			}
			v.found(n)
		}
	}
}

// through are the states that are restored from a file, or from one that was made of it.
func through(t *database.Timeline, uses map[replica.Name]Range, n replica.Name) (all []Range) {
	for f := range t.Files() {
		above := f.Level > n.Level && f.Level < replica.SnapshotLevel && f.MinTXID <= n.MinTXID && n.MaxTXID <= f.MaxTXID
		if use, ok := uses[f.Name]; ok && (f.Name == n || above) {
			all = append(all, use)
		}
	}
	return all
}
