package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica/storetest"
)

// group is rows that are measured one after the other, on one replica.
type group struct {
	name        string // for -rows
	title       string
	replica     string
	write       bool // to a replica of its own each time
	places      []place
	contestants func(w *world, p place) []*contestant
	prepare     func(w *world) error
	rows        []row
}

// row is one piece of work. Without a job it is mounting.
type row struct {
	name    string
	fresh   bool // on a new mount, which has nothing cached
	evict   bool // with nothing cached of the file that is on disk
	start   bool // counts from the start of the program
	level   int
	file    string // in the level, or "" for all of it
	job     job
	entries int // that at least are listed
	metrics []*metric
}

// metric is a way to tell how a contestant did.
type metric struct {
	unit   string
	more   bool // is better
	remote bool // says nothing of a replica on disk
	of     func(s sample) float64
}

var (
	speed    = &metric{unit: "MB/s", more: true, of: func(s sample) float64 { return float64(s.Bytes) / 1e6 / s.Seconds }}
	rate     = &metric{unit: "reads/s", more: true, of: func(s sample) float64 { return float64(s.Reads) / s.Seconds }}
	p50      = &metric{unit: "p50, ms", of: func(s sample) float64 { return s.P50 }}
	p99      = &metric{unit: "p99, ms", of: func(s sample) float64 { return s.P99 }}
	seconds  = &metric{unit: "s", of: func(s sample) float64 { return s.Seconds }}
	perFile  = &metric{unit: "µs a file", of: func(s sample) float64 { return s.Seconds * 1e6 / float64(s.Entries) }}
	resident = &metric{unit: "MiB", of: func(s sample) float64 { return s.MiB() }}
	requests = &metric{unit: "requests", remote: true, of: func(s sample) float64 { return float64(s.traffic.Requests) }}
	fetched  = &metric{unit: "bytes fetched for one", remote: true, of: func(s sample) float64 {
		return float64(s.traffic.Sent) / float64(s.Bytes)
	}}
)

// metricsOn are the metrics that say something in a place.
func (r row) metricsOn(p place) []*metric {
	return slices.DeleteFunc(slices.Clone(r.metrics), func(m *metric) bool { return m.remote && p.endpoint == "" })
}

// allPlaces are all places, in a quick run those that don't take long.
func allPlaces(w *world) []place {
	return pick(w, []place{w.near, w.far, w.disk}, []place{w.near, w.disk})
}

// stores are the stores, in a quick run the one that doesn't take long.
func stores(w *world) []place { return pick(w, []place{w.near, w.far}, []place{w.near}) }

func allGroups(w *world) []*group {
	groups := []*group{
		sequentialGroup(w), readersGroup(w), randomGroup(w), startGroup(w),
		writeGroup(w, "write", pick(w, 1000, 100), w.near, w.disk), restoreGroup(w),
		listGroup(w, "list", pick(w, 20_000, 1_000), stores(w)...),
		listGroup(w, "list-disk", pick(w, 200_000, 20_000), w.disk), databaseGroup(w), scanGroup(w),
	}
	groups = append(groups, keptGroup(w, "kept", "by the kernel", passedThrough, s3fsKeeping, rcloneKeeping), keptGroup(w, "kept-checked", "by the daemon", checked), keptDatabaseGroup(w))
	groups = append(groups, offlineGroups(w)...)
	if !w.quick {
		groups = append(groups, stalledGroup(w), writeGroup(w, "write-far", 100, w.far), pagedGroup(w),
			listGroup(w, "list-thousand", 1_000, w.disk), listGroup(w, "list-ten-thousand", 10_000, w.disk),
			listGroup(w, "list-hundred-thousand", 100_000, w.disk), listGroup(w, "list-million", million, w.disk))
	}
	return groups
}

// The large file: in level 9 of a replica of its own, valid, and a little larger
// than the database that it is a snapshot of, since nothing compresses that.
const (
	largeReplica = "large"
	largeName    = "0000000000000001-0000000000000001.ltx"
)

// prepareLarge makes the large file, on disk and in the store.
func prepareLarge(w *world) error {
	path := filepath.Join(w.dir, largeReplica, fmt.Sprintf(onDisk, 9), largeName)
	if _, err := os.Stat(path); err == nil {
		return nil // another group has made it
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	storetest.WriteLTX(w.b, f, 1, 1, storetest.Noise(), storetest.Commit(uint32(w.size()/storetest.DefaultPageSize)))
	// What isn't on disk yet can't be dropped from the kernel's cache.
	if err := f.Sync(); err != nil {
		return err
	}
	return w.put(replicaAt{name: largeReplica}.key(9, largeName), path)
}

// put copies a file into the store.
func (w *world) put(key, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = w.client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: f})
	return errors.Join(err, f.Close())
}

// smallName is the name of a file of one transaction.
func smallName(txID int) string { return ltx.FormatFilename(ltx.TXID(txID), ltx.TXID(txID)) }
