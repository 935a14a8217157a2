package mock_test

import (
	"testing"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

func TestConformance(t *testing.T) {
	replicatest.Run(t, replicatest.Harness{
		New: func(*testing.T) replica.Client { return mock.New() },
		Resources: func(c replica.Client) int {
			m := c.(*mock.ReplicaClient)
			return m.OpenReaders() + m.OpenIterators()
		},
	})
}

// A client that can do nothing beside the interface must pass as well.
func TestConformanceLimited(t *testing.T) {
	replicatest.Run(t, replicatest.Harness{
		New:       func(*testing.T) replica.Client { return mock.New().Limit(0) },
		LargeSize: 1 << 20,
	})
}
