package staging

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// What others damage on the disk, behind the check that has read it, is not published, and
// stays. Nothing of it is remembered: once it is mended, it is.
func TestDamageBehindCheck(t *testing.T) {
	data := large(t, 0)
	for _, at := range []int{0, len(data) / 2, len(data) - 1} {
		r := newRig(t)
		w := r.open(base(1))
		defer w.Release()
		w.write(data, 0)
		w.order.check.set(func() { w.order.check.whole = true })
		select {
		case <-w.order.check.done:
		case <-time.After(far):
			t.Fatal("it waits for ever")
		}
		_, err := w.f.WriteAt([]byte{data[at] ^ 1}, int64(at))
		require.NoError(t, err)
		err = w.Publish(t.Context(), true)
		require.ErrorIs(t, err, replica.ErrChanged)
		require.ErrorContains(t, err, "write the file again")
		r.requirePublished(1, nil)
		r.requireStaged("ltx/0000/" + base(1))

		_, err = w.f.WriteAt(data[at:at+1], int64(at))
		require.NoError(t, err)
		require.NoError(t, w.Publish(t.Context(), true))
		r.requirePublished(1, data)
	}
}
