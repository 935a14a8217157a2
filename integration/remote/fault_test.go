package remote

import (
	"sync"
	"testing"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// faultsAtOnce is how many faults are tested at a time: they wait more than they
// work.
const faultsAtOnce = 16

// fault is something that goes wrong while a reader and a writer use a mount. Its
// run ends by looking at all that may be left of it.
type fault struct {
	name  string
	kinds []*s3test.Kind
	run   func(t *testing.T, kind *s3test.Kind)
}

var (
	onMinIO     = []*s3test.Kind{s3test.MinIO}
	onVersityGW = []*s3test.Kind{s3test.VersityGW}
)

// faults begin with those that take longest.
var faults = []fault{
	{"gone for good", onMinIO, faultGone},
	{"writes cut every 64 KiB", onMinIO, faultCutWrites},
	{"hung for good", onVersityGW, faultHung},
	{"many readers of a hung store", onMinIO, faultManyReaders},
	{"hung at the end", onMinIO, faultHungAtEnd},
	{"stopped for 20 s", s3test.Servers, faultStopped},
	{"paused for 15 s", onVersityGW, faultPaused},
	{"a deletion that does nothing", s3test.Servers, faultDeleteNothing},
	{"latency of 500 ms", onMinIO, faultLatency},
	{"1 MB/s", onVersityGW, faultBandwidth},
	{"reads cut every 64 KiB", onVersityGW, faultCutReads},
	{"bodies cut short", onMinIO, faultCutBodies},
	{"10 % of requests get SlowDown", s3test.Servers, faultSlowDown},
	{"RequestCanceled", onVersityGW, faultRequestCanceled},
	{"a file is replaced", s3test.Servers, faultReplaced},
	{"a file is deleted", s3test.Servers, faultDeleted},
	{"credentials are revoked", onVersityGW, faultRevoked},
	{"a wrong range", onMinIO, faultWrongRange},
	{"ranges are ignored", onVersityGW, faultRangesIgnored},
	{"damage to what is written", s3test.Servers, faultDamage},
	{"a HEAD lags behind a PUT", s3test.Servers, faultLag},
}

// TestFaults has all faults happen, many at a time, each to a mount of its own.
func TestFaults(t *testing.T) {
	t.Parallel()
	slots := make(chan struct{}, faultsAtOnce)
	var wg sync.WaitGroup
	for _, f := range faults {
		for _, kind := range f.kinds {
			slots <- struct{}{}
			// Not t.Parallel, whose limit is for tests that work.
			wg.Go(func() {
				defer func() { <-slots }()
				t.Run(f.name+"/"+kind.Name, func(t *testing.T) { f.run(t, kind) })
			})
		}
	}
	wg.Wait()
}
