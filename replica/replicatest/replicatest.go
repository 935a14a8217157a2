// Package replicatest holds the suite that every replica.Client must pass, and
// makes LTX files for tests.
package replicatest

import (
	"context"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Harness is what the suite needs to know of a client.
type Harness struct {
	// New returns a client of a new, empty replica that no other test uses.
	// What it must clean up, it leaves to t.Cleanup.
	New func(t *testing.T) replica.Client

	// Leftovers, if set, lists everything in the client's store that is
	// neither a file of the replica nor a stranger: temporary files, parts of
	// uploads.
	Leftovers func(t *testing.T, c replica.Client) []string

	// PutStranger, if set, puts something that isn't the replica's into the
	// directory where the client keeps a level, and returns a function that
	// fails the test unless it is still there, untouched. It is not set for
	// a store that can hold nothing else.
	PutStranger func(t *testing.T, c replica.Client, level int) (check func(t *testing.T))

	// Overwrite, if set, changes the content of a file in place, as a
	// program would that knows nothing of replicas. It is not set for a store
	// whose objects can't be changed in place.
	Overwrite func(t *testing.T, c replica.Client, f replica.File, data []byte)

	// Resources, if set, counts what the client holds of its store: open
	// readers, listings, connections. Descriptors of the process and
	// goroutines are counted for every client.
	Resources func(c replica.Client) int

	// LargeSize is the size of the large file, in bytes. 0 is 100 MB.
	LargeSize int64
}

// largeSize is the large file's size in the guide for implementers.
const largeSize = 100 << 20

// tests is the suite. Each gets a client of its own.
var tests = []struct {
	name string
	run  func(t *testing.T, s *suite)
}{
	{"Type", testType},
	{"Init", testInit},

	{"WriteRead", testWriteRead},
	{"WriteReadLTX", testWriteReadLTX},
	{"WriteEmpty", testWriteEmpty},
	{"WriteEveryLevel", testWriteEveryLevel},
	{"WriteSlowReader", testWriteSlowReader},
	{"WriteInvalid", testWriteInvalid},
	{"WriteTimestamp", testWriteTimestamp},
	{"WriteUploadTime", testWriteUploadTime},
	{"WriteReaderError", testWriteReaderError},
	{"WriteReaderErrorKeepsOld", testWriteReaderErrorKeepsOld},
	{"WriteCancelled", testWriteCancelled},
	{"WriteReplaces", testWriteReplaces},
	{"WriteLarge", testWriteLarge},
	{"WriteConcurrent", testWriteConcurrent},
	{"WriteConcurrentSameName", testWriteConcurrentSameName},
	{"WriteConcurrentDeleteAll", testWriteConcurrentDeleteAll},
	{"WriteVersion", testWriteVersion},
	{"WriteExclusive", testWriteExclusive},
	{"WriteExclusiveConcurrent", testWriteExclusiveConcurrent},

	{"ReadPartial", testReadPartial},
	{"ReadRanges", testReadRanges},
	{"ReadInvalid", testReadInvalid},
	{"ReadNotFound", testReadNotFound},
	{"ReadCancelled", testReadCancelled},
	{"ReadConcurrent", testReadConcurrent},
	{"ReadWhileReplaced", testReadWhileReplaced},
	{"ReadWhileDeleted", testReadWhileDeleted},
	{"ReadVersion", testReadVersion},
	{"ReadVersionReplaced", testReadVersionReplaced},
	{"ReadVersionOverwritten", testReadVersionOverwritten},
	{"ReadNoLeak", testReadNoLeak},
	{"OpenLocal", testOpenLocal},

	{"ListEmpty", testListEmpty},
	{"ListSorted", testListSorted},
	{"ListSeek", testListSeek},
	{"ListLevels", testListLevels},
	{"ListInvalid", testListInvalid},
	{"ListAttributes", testListAttributes},
	{"ListMetadata", testListMetadata},
	{"ListManyFiles", testListManyFiles},
	{"ListStrangers", testListStrangers},
	{"ListVanishing", testListVanishing},
	{"ListCancelled", testListCancelled},
	{"ListCloseReturnsError", testListCloseReturnsError},
	{"ListStoppedEarly", testListStoppedEarly},
	{"ListVersion", testListVersion},
	{"Stat", testStat},

	{"Delete", testDelete},
	{"DeleteMissing", testDeleteMissing},
	{"DeleteMany", testDeleteMany},
	{"DeleteInvalid", testDeleteInvalid},
	{"DeleteCancelled", testDeleteCancelled},
	{"DeleteAndWriteAgain", testDeleteAndWriteAgain},
	{"DeleteAll", testDeleteAll},
	{"DeleteAllTwice", testDeleteAllTwice},
	{"DeleteAllLeavesStrangers", testDeleteAllLeavesStrangers},
	{"DeleteAllCancelled", testDeleteAllCancelled},

	{"Space", testSpace},
}

// Run runs the suite. What a client can do beside replica.Client is tested if
// its type says that it can.
func Run(t *testing.T, h Harness) {
	if h.LargeSize == 0 {
		h.LargeSize = largeSize
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{Harness: h, client: h.New(t)}
			// Every client has Init, and most are lazy about it.
			if c, ok := s.client.(interface{ Init(context.Context) error }); ok {
				if err := c.Init(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			test.run(t, s)
			if s.Leftovers != nil {
				if left := s.Leftovers(t, s.client); len(left) > 0 {
					t.Errorf("the test leaves behind %q", left)
				}
			}
			if s.Resources != nil {
				if n := s.Resources(s.client); n != 0 {
					t.Errorf("the test leaves %d readers or listings open", n)
				}
			}
		})
	}
}

// suite is what a test of the suite works with.
type suite struct {
	Harness
	client replica.Client
}

// id names a file within a test.
type id struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

// testTimeout ends a test that hangs where it should not.
const testTimeout = time.Minute
