package audit

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/superfly/ltx"
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
	v.differ = nil
	type start struct {
		level int
		txid  ltx.TXID
	}
	sound := map[start]*result{}
	for f := range t.Files() {
		if res := v.results[keyOf(f)]; res != nil && res.Err == nil {
			sound[start{f.Level, f.MinTXID}] = res
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for from, res := range sound {
		if from.level == 0 || from.level == replica.SnapshotLevel {
			continue
		}
		c := &compaction{file: res}
		for at := res.MinTXID; at <= res.MaxTXID; {
			below := sound[start{from.level - 1, at}]
			if below == nil || below.MaxTXID > res.MaxTXID || below.Header.PageSize != res.Header.PageSize {
				c.of = nil
				break
			}
			c.of, at = append(c.of, below), below.MaxTXID+1
		}
		if len(c.of) > 1 { // one alone is compared by its content
			g.Go(func() error { return v.compare(ctx, c) })
		}
	}
	return g.Wait()
}

// compare finds pages that only one side of a compaction has. Such as the database doesn't
// have in the end don't count.
func (v *verifier) compare(ctx context.Context, c *compaction) error {
	last := c.file.Header.Commit
	pages := int64(last)/64 + 1 // words
	if 8*pages > leastRoom {    // of a database of 64 Mi pages, which Litestream hardly has
		return nil
	}
	if v.room.Acquire(ctx, 8*pages) != nil {
		return context.Cause(ctx)
	}
	defer v.room.Release(8 * pages)
	set := make([]uint64, pages)
	for _, below := range c.of {
		err := v.pages(ctx, below.File.File, func(pgno uint32) {
			if pgno <= last {
				set[pgno/64] |= 1 << (pgno % 64)
			}
		})
		if err != nil {
			return err
		}
	}
	err := v.pages(ctx, c.file.File.File, func(pgno uint32) {
		if word, bit := &set[pgno/64], uint64(1)<<(pgno%64); *word&bit != 0 {
			*word &^= bit
		} else if c.adds == 0 {
			c.adds = pgno
		}
	})
	if err != nil {
		return err
	}
	for i, word := range set {
		if word != 0 {
			c.lacks = uint32(64*i + bits.TrailingZeros64(word))
			break
		}
	}
	if c.lacks != 0 || c.adds != 0 {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.differ = append(v.differ, c)
	}
	return nil
}

// incompacted reports files that have other pages than what they were made of. Whoever lacks
// one is wrong: pages get lost, but don't appear.
func (v *verifier) incompacted(uses map[replica.Name]Range) {
	for _, c := range v.differ {
		n := &Finding{Code: Conflict, Severity: Damage, Stage: Indexes, File: pathOf(c.file.Name),
			Advice: "restore a state that needs it from the files of the level below, this one moved away, and compare the databases"}
		below := fmt.Sprintf("ltx/%04d of the same transactions", c.file.Level-1)
		doubt := func(r *result) {
			if use, ok := uses[r.Name]; ok {
				n.Doubtful = append(n.Doubtful, use)
			}
		}
		if c.lacks != 0 {
			n.Detail = fmt.Sprintf("it lacks page %d, which is in the files in %s", c.lacks, below)
			doubt(c.file)
		} else {
			n.Detail = fmt.Sprintf("it has page %d, which the files in %s lack", c.adds, below)
			for _, r := range c.of {
				doubt(r)
			}
		}
		v.found(n)
	}
}
