package bench

import (
	"fmt"
	"time"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// One GET in stallEach gets no answer for stallFor, as in stores that have trouble.
const (
	stallEach = 100
	stallFor  = 5 * time.Second
)

// stalling is a place where GETs stall, behind a proxy before another place.
func (w *world) stalling(p place) place {
	proxy := s3test.NewProxy(w.b, p.endpoint)
	proxy.Intercept(s3test.On(s3test.GetObject, proxy.Stall(stallEach, stallFor)))
	name := fmt.Sprintf("%s, where one GET in %d stalls for %v", p.name, stallEach, stallFor)
	w.steady[proxy.Endpoint] = s3test.NewProxy(w.b, p.endpoint).Endpoint
	return place{name: name, endpoint: proxy.Endpoint}
}

func stalledGroup(w *world) *group {
	return &group{
		name: "stalled", title: "Reading a file of " + w.large() + " in sequence while GETs stall", replica: largeReplica,
		places: []place{w.nearStalling, w.farStalling}, prepare: prepareLarge,
		contestants: func(*world, place) []*contestant { return []*contestant{ltxfs, steady, patient} },
		rows:        []row{readBy("one reader, cold", true, 1), readBy("four readers, cold", true, 4)},
	}
}

// Those that ltxfs is measured beside where GETs stall.
var (
	// steady is ltxfs where none do, behind a proxy as well.
	steady = &contestant{name: "none stalled", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		r.endpoint = w.steady[r.endpoint]
		return w.mountLtxfs(w.ltxfs, r, nil)
	}}

	// patient is ltxfs that asks for nothing again.
	patient = &contestant{name: "hedge=false", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return w.mountLtxfs(w.ltxfs, r, nil, "LTXFS_S3_HEDGE=false")
	}}
)
