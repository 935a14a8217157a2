// Package storetest holds the suite that every replica.Store passes, those around a
// store among them, and makes LTX files for tests.
package storetest

import (
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Harness is what the suite needs to know of a store.
type Harness struct {
	// New returns a new, empty replica that no other test uses. What it must
	// clean up, it leaves to t.Cleanup.
	New func(t *testing.T) replica.Store

	// Client, if set, returns the ReplicaClient around a store that New made.
	// Without it, the suite tests replica.ClientOf.
	Client func(s replica.Store) replica.Client

	// Leftovers, if set, lists everything in the store that is neither a file
	// of the replica nor a stranger: temporary files, parts of uploads.
	Leftovers func(t *testing.T, s replica.Store) []string

	// PutStranger, if set, puts something that isn't the replica's into the
	// directory where the store keeps a level, and returns a function that
	// fails the test unless it is still there, untouched. It is not set for
	// a store that can hold nothing else.
	PutStranger func(t *testing.T, s replica.Store, level int) (check func(t *testing.T))

	// Put, if set, stores a file as another writer would, where that takes less
	// time than a write: thousands of files each wait for a disk.
	Put func(s replica.Store, name replica.Name, data []byte) error

	// Overwrite, if set, changes the content of a file in place, as a
	// program would that knows nothing of replicas. It is not set for a store
	// whose objects can't be changed in place.
	Overwrite func(t *testing.T, s replica.Store, f replica.File, data []byte)

	// Resources, if set, counts what is held of the store: open readers,
	// listings, connections. Descriptors of the process and goroutines are
	// counted for every store.
	Resources func(s replica.Store) int

	// LargeSize is the size of the large file, in bytes. 0 is 100 MB.
	LargeSize int64

	// ManyFiles is how many files a large level has. 0 is 2,300.
	ManyFiles int

	// OpensLocal is whether OpenLocal opens files. Where it isn't set, it must
	// be unsupported.
	OpensLocal bool

	// Weak is set for replica.StoreOf a client: its versions are a size and a
	// second, and its exclusive writes are not atomic.
	Weak bool

	// Torn is set for a store that, while a file is being replaced, can answer with
	// the version of one content and the bytes of the other. The suite reads no
	// file meanwhile.
	Torn bool
}

// largeSize is the large file's size in the guide for implementers.
const largeSize = 100 << 20

// manyFiles are more than stores and directories give at once, and than that again.
const manyFiles = 2300

// tests is the suite. Each gets a store of its own.
var tests = []struct {
	name string
	run  func(t *testing.T, s *suite)
}{
	{"Type", testType},

	{"WriteRead", testWriteRead},
	{"WriteReadLTX", testWriteReadLTX},
	{"WriteEmpty", testWriteEmpty},
	{"WriteEveryLevel", testWriteEveryLevel},
	{"WriteInvalid", testWriteInvalid},
	{"WriteTimestamp", testWriteTimestamp},
	{"WriteUploadTime", testWriteUploadTime},
	{"WriteContentError", testWriteContentError},
	{"WriteContentErrorKeepsOld", testWriteContentErrorKeepsOld},
	{"WriteCancelled", testWriteCancelled},
	{"WriteReplaces", testWriteReplaces},
	{"WriteLarge", testWriteLarge},
	{"WriteConcurrent", testWriteConcurrent},
	{"WriteVersion", testWriteVersion},
	{"WriteDigest", testWriteDigest},
	{"WritePace", testWritePace},
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
	{"ListFrom", testListFrom},
	{"ListLevels", testListLevels},
	{"ListInvalid", testListInvalid},
	{"ListAttributes", testListAttributes},
	{"ListNamesOnly", testListNamesOnly},
	{"ListExactTimes", testListExactTimes},
	{"ListKnownTimes", testListKnownTimes},
	{"ListManyFiles", testListManyFiles},
	{"ListStrangers", testListStrangers},
	{"ListVanishing", testListVanishing},
	{"ListCancelled", testListCancelled},
	{"ListStoppedEarly", testListStoppedEarly},
	{"ListVersion", testListVersion},
	{"Stat", testStat},

	{"Delete", testDelete},
	{"DeleteMissing", testDeleteMissing},
	{"DeleteMany", testDeleteMany},
	{"DeleteInvalid", testDeleteInvalid},
	{"DeleteCancelled", testDeleteCancelled},
	{"DeleteAndWriteAgain", testDeleteAndWriteAgain},

	{"Space", testSpace},

	{"Client/Init", testClientInit},
	{"Client/WriteRead", testClientWriteRead},
	{"Client/WriteStreams", testClientWriteStreams},
	{"Client/WriteLarge", testClientWriteLarge},
	{"Client/WriteInvalid", testClientWriteInvalid},
	{"Client/WriteReaderError", testClientWriteReaderError},
	{"Client/WriteReaderErrorKeepsOld", testClientWriteReaderErrorKeepsOld},
	{"Client/WriteCancelled", testClientWriteCancelled},
	{"Client/WriteConcurrentSameName", testClientWriteConcurrentSameName},
	{"Client/WriteConcurrentDeleteAll", testClientWriteConcurrentDeleteAll},
	{"Client/List", testClientList},
	{"Client/ListEmpty", testClientListEmpty},
	{"Client/ListCancelled", testClientListCancelled},
	{"Client/ListCloseReturnsError", testClientListCloseReturnsError},
	{"Client/ListStoppedEarly", testClientListStoppedEarly},
	{"Client/Delete", testClientDelete},
	{"Client/DeleteAll", testClientDeleteAll},
	{"Client/DeleteAllTwice", testClientDeleteAllTwice},
	{"Client/DeleteAllLeavesStrangers", testClientDeleteAllLeavesStrangers},
	{"Client/DeleteAllCancelled", testClientDeleteAllCancelled},
}

// Run runs the suite: of the store, and of the client around it.
func Run(t *testing.T, h Harness) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { h.run(t, test.run) })
	}
}

// RunOne runs one test of the suite.
func RunOne(t *testing.T, h Harness, name string) {
	for _, test := range tests {
		if test.name == name {
			t.Run(name, func(t *testing.T) { h.run(t, test.run) })
			return
		}
	}
	t.Fatalf("the suite has no test %q", name)
}

func (h Harness) run(t *testing.T, test func(t *testing.T, s *suite)) {
	if h.LargeSize == 0 {
		h.LargeSize = largeSize
	}
	if h.ManyFiles == 0 {
		h.ManyFiles = manyFiles
	}
	if h.Client == nil {
		h.Client = replica.ClientOf
	}
	store := h.New(t)
	test(t, &suite{Harness: h, store: store, client: h.Client(store)})
	if h.Leftovers != nil {
		if left := h.Leftovers(t, store); len(left) > 0 {
			t.Errorf("the test leaves behind %q", left)
		}
	}
	if h.Resources != nil {
		if n := h.Resources(store); n != 0 {
			t.Errorf("the test leaves %d readers or listings open", n)
		}
	}
}

// suite is what a test of the suite works with.
type suite struct {
	Harness
	store  replica.Store
	client replica.Client // around store
}

// testTimeout ends a test that hangs where it should not.
const testTimeout = time.Minute
