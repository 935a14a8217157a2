package replica_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// counting is a store around a store that counts deletions.
type counting struct {
	replica.Wrapper // passes on what isn't written below
	calls, files    atomic.Int64
}

func (c *counting) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	c.calls.Add(1)
	c.files.Add(int64(len(names)))
	return c.Store.DeleteLTXFiles(ctx, names...)
}

// OpenLocal lets the kernel read files by itself, since counting does nothing to
// reading.
func (c *counting) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return c.Store.OpenLocal(ctx, f)
}

func ExampleWrapper() {
	ctx, store := context.Background(), &counting{Wrapper: replica.Wrapper{Store: mock.New()}}
	snapshot := replica.Name{Level: 9, MinTXID: 1, MaxTXID: 3}
	for _, names := range [][]replica.Name{{snapshot}, {{MinTXID: 1, MaxTXID: 1}, {MinTXID: 2, MaxTXID: 2}}} {
		if err := store.DeleteLTXFiles(ctx, names...); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(store.calls.Load(), "calls,", store.files.Load(), "files") // Output: 2 calls, 3 files
}
