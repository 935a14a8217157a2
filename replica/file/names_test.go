package file

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// Names come in order, each once, however many there are, in whatever order they were
// read, and however many are taken at a time.
func TestNames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{0, 1, 2, runLen - 1, runLen, runLen + 1, 5*runLen + 17} {
		for _, most := range []int{1, 7, maxBatch} {
			n := &names{}
			var want []txids
			for range count {
				name := txids{ltx.TXID(r.IntN(count)), ltx.TXID(r.IntN(3))}
				want = append(want, name)
				n.add(name)
			}
			slices.SortFunc(want, txids.compare)
			want = slices.Compact(want)
			n.sort()
			var got, taken []txids
			for n.left() {
				taken = n.take(taken, most)
				require.LessOrEqual(t, len(taken), most)
				got = append(got, taken...)
			}
			require.Equal(t, want, got)
		}
	}
}
