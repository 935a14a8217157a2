package bench

import (
	"fmt"
	"slices"
)

// others are who reads without a mount of the replica.
var others = with([]*contestant{sdk, plain, memory}, []*contestant{sdk}, []*contestant{cached, plain})

// readBy is reading the large file by several readers.
func readBy(name string, fresh bool, readers int) row {
	return row{
		name: name, fresh: fresh, evict: fresh, level: 9, file: largeName,
		job: job{Kind: "read", Block: 1 << 20, Readers: readers}, metrics: []*metric{speed},
	}
}

func sequentialGroup(w *world) *group {
	return &group{
		name: "sequential", title: "Reading a file of " + w.large() + " in sequence", replica: largeReplica,
		places: []place{w.near, w.far, w.disk}, contestants: others, prepare: prepareLarge,
		rows: []row{
			readBy("one reader, cold", true, 1),
			readBy("one reader, again", false, 1),
			readBy("four readers, cold", true, 4),
			readBy("four readers, again", false, 4),
		},
	}
}

func readersGroup(w *world) *group {
	g := &group{
		name: "readers", title: "Reading a file of " + w.large() + " by many at once, each a part", replica: largeReplica,
		places: stores(w), contestants: others, prepare: prepareLarge,
	}
	for _, n := range pick(w, []int{1, 2, 4, 16, 64}, []int{16}) {
		g.rows = append(g.rows, readBy(fmt.Sprintf("%d readers, cold", n), true, n))
	}
	return g
}

func randomGroup(w *world) *group {
	read := func(name string, readers int, mmap bool) row {
		return row{
			name: name, fresh: true, evict: true, level: 9, file: largeName,
			job: job{
				Kind: "random", Block: 4 << 10, Readers: readers, Mmap: mmap,
				Reads: pick(w, 200, 30) * min(readers, 4),
			},
			metrics: []*metric{p50, p99, rate, fetched},
		}
	}
	rows := []row{
		read("one thread", 1, false),
		read("32 threads", 32, false),
		read("one thread, mmap", 1, true),
		read("32 threads, mmap", 32, true),
	}
	return &group{
		name: "random", title: "Reading 4 KiB at random in a file of " + w.large() + ", cold", replica: largeReplica,
		places: []place{w.near, w.far, w.disk}, contestants: withoutFarRclone, prepare: prepareLarge,
		rows: pick(w, rows, rows[:3]),
	}
}

// withoutFarRclone are the others but for rclone behind Toxiproxy, which goes on reading what rclone has asked for and given
// up: tens of gigabytes, into its memory.
func withoutFarRclone(w *world, p place) []*contestant {
	return slices.DeleteFunc(others(w, p), func(c *contestant) bool { return p == w.far && c == rclone })
}

func startGroup(w *world) *group {
	return &group{
		name: "start", title: "From the start of the program to the mount", replica: largeReplica,
		places: allPlaces(w), contestants: with(nil, nil, nil), prepare: prepareLarge,
		rows: []row{{name: "start", fresh: true, metrics: []*metric{seconds, requests}}},
	}
}
