package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// group is rows that are measured one after the other, on one replica.
type group struct {
	name        string // for -rows
	title       string
	replica     string
	places      []place
	contestants func(p place) []*contestant
	prepare     func(w *world) error
	rows        []row
}

// row is one piece of work.
type row struct {
	name    string
	fresh   bool // on a new mount, with nothing cached
	level   int
	file    string // in the level, or "" for all of it
	job     job
	metrics []*metric
}

// metric is a way to tell how a contestant did.
type metric struct {
	unit   string
	more   bool // is better
	remote bool // is of what the store sent
	of     func(o outcome, t s3test.Traffic) float64
}

var (
	speed = &metric{unit: "MB/s", more: true, of: func(o outcome, _ s3test.Traffic) float64 {
		return float64(o.Bytes) / 1e6 / o.Seconds
	}}
	p50     = &metric{unit: "p50, ms", of: func(o outcome, _ s3test.Traffic) float64 { return o.P50 }}
	p99     = &metric{unit: "p99, ms", of: func(o outcome, _ s3test.Traffic) float64 { return o.P99 }}
	fetched = &metric{unit: "bytes fetched for one", remote: true, of: func(o outcome, t s3test.Traffic) float64 {
		return float64(t.Sent) / float64(o.Bytes)
	}}
	seconds = &metric{unit: "s", of: func(o outcome, _ s3test.Traffic) float64 { return o.Seconds }}
)

// metricsOn are the metrics that say something in a place.
func (r row) metricsOn(p place) []*metric {
	return slices.DeleteFunc(slices.Clone(r.metrics), func(m *metric) bool { return m.remote && p.endpoint == "" })
}

// largeName is the name of the large file, in level 9.
const largeName = "0000000000000001-0000000000000001.ltx"

func allGroups(w *world) []*group {
	return []*group{sequentialGroup(w), randomGroup(w)}
}

// readers are who can read a large file.
func readers(w *world) func(p place) []*contestant {
	return func(p place) []*contestant {
		switch all := mounting(p); p {
		case w.near:
			return append(all, present(sdk, plain, memory)...)
		case w.far:
			return append(all, present(sdk)...)
		default:
			return append(all, present(plain)...)
		}
	}
}

func sequentialGroup(w *world) *group {
	read := func(name string, fresh bool, readers int) row {
		return row{
			name: name, fresh: fresh, level: 9, file: largeName,
			job: job{Kind: "read", Block: 1 << 20, Readers: readers}, metrics: []*metric{speed},
		}
	}
	return &group{
		name: "sequential", title: fmt.Sprintf("Reading a file of %d MiB in sequence", w.size()>>20), replica: "read",
		places: []place{w.near, w.far, w.disk}, contestants: readers(w), prepare: prepareLarge,
		rows: []row{
			read("one reader, cold", true, 1),
			read("one reader, again", false, 1),
			read("four readers, cold", true, 4),
			read("four readers, again", false, 4),
		},
	}
}

func randomGroup(w *world) *group {
	read := func(name string, readers int, mmap bool) row {
		return row{
			name: name, fresh: true, level: 9, file: largeName,
			job: job{
				Kind: "random", Block: 4 << 10, Readers: readers, Mmap: mmap,
				Count: pick(w, 500, 200) * min(readers, 4),
			},
			metrics: []*metric{p50, p99, fetched},
		}
	}
	return &group{
		name: "random", title: fmt.Sprintf("Reading 4 KiB at random in a file of %d MiB, cold", w.size()>>20), replica: "read",
		places: []place{w.near, w.far, w.disk}, contestants: readers(w), prepare: prepareLarge,
		rows: []row{
			read("one thread", 1, false),
			read("32 threads", 32, false),
			read("one thread, mmap", 1, true),
			read("32 threads, mmap", 32, true),
		},
	}
}

// prepareLarge makes the large file, on disk and in the store.
func prepareLarge(w *world) error {
	const replica = "read"
	dir := levelDir(filepath.Join(w.dir, replica), 9)
	path := filepath.Join(dir, largeName)
	if _, err := os.Stat(path); err == nil {
		return nil // another group has made it
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeNoise(path, w.size()); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	key := fmt.Sprintf("%s/%04d/%s", replica, 9, largeName)
	_, err = w.client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: f})
	return err
}
