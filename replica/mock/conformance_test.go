package mock_test

import (
	"testing"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New:    func(*testing.T) replica.Store { return mock.New() },
		Client: func(s replica.Store) replica.Client { return mock.NewReplicaClient(s.(*mock.Store)) },
		Resources: func(s replica.Store) int {
			m := s.(*mock.Store)
			return m.OpenReaders() + m.OpenListings()
		},
	})
}
