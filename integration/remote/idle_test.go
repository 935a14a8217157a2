package remote

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// A mount that nobody reads gives all of the budget back, and the system its memory. It
// does so after five minutes; here, after ten seconds.
func TestIdleMount(t *testing.T) {
	t.Parallel()
	const budget = 30 << 20 // no power of two, which the runtime has mappings of
	r := newRig(t, s3test.MinIO, rigOptions{
		budget: budget >> 20,
		binary: ltxfstest.BuildWith(t, "cache/blocks/cache.go", "keepFor = 5 * time.Minute", "keepFor = 10 * time.Second"),
	})
	p := r.m.Process(t)
	defer p.Close()
	for range 2 {
		names, err := p.ReadDir(path.Dir(r.probe.path()))
		require.NoError(t, err)
		require.Len(t, names, faultSeeds+1)
		r.requireWrites(r.newWrite(6000))
		r.requireReads(r.probe)
		r.requireBudget()
		require.GreaterOrEqual(t, r.m.Mapped(t, budget), int64(len(r.probe.data)), "the file as large as the budget")
		resident := r.m.Resident(t)
		ltxfstest.Eventually(t, ltxfstest.Timeout, "no block is left", func() bool { return r.m.Mapped(t, budget) == 0 })
		require.InDelta(t, resident-budget, r.m.Resident(t), budget/4, "resident memory, of %d MiB", resident>>20)
	}
	r.requireUnmounts(ltxfstest.ExitOK)
}
