package file

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"

	"github.com/superfly/ltx"
)

// txids are a name whose level is known.
type txids struct{ min, max ltx.TXID }

func (n txids) compare(other txids) int {
	if n.min != other.min {
		return cmp.Compare(n.min, other.min)
	}
	return cmp.Compare(n.max, other.max)
}

// runLen is how many names are sorted at once.
const runLen = 64 << 10

// names are the names in a directory, in any number, each once. They are in sorted runs,
// by their first names: one slice would be there twice each time that it grows.
type names struct {
	runs    [][]txids
	sorting sync.WaitGroup // of runs that are full
	last    txids          // taken
	begun   bool           // there is one
}

// add adds a name, and begins to sort what is full. After sort, it is too late.
func (n *names) add(name txids) {
	last := len(n.runs) - 1
	switch {
	case last < 0:
		n.runs = append(n.runs, nil) // which may stay short
		last++
	case len(n.runs[last]) == runLen:
		n.sortRun(n.runs[last])
		n.runs = append(n.runs, make([]txids, 0, runLen))
		last++
	}
	n.runs[last] = append(n.runs[last], name)
}

func (n *names) sortRun(run []txids) {
	n.sorting.Go(func() { slices.SortFunc(run, txids.compare) })
}

func (n *names) sort() {
	if last := len(n.runs) - 1; last >= 0 {
		n.sortRun(n.runs[last])
	}
	n.sorting.Wait()
	heap.Init((*runHeap)(n))
}

// left reports whether there are names to be taken.
func (n *names) left() bool { return len(n.runs) > 0 }

// take takes up to most names out, in order, and returns them in buf's memory, if that is
// large enough.
func (n *names) take(buf []txids, most int) (taken []txids) {
	taken = slices.Grow(buf[:0], most)
	for len(taken) < most && n.left() {
		if first := n.runs[0][0]; first != n.last || !n.begun {
			taken = append(taken, first)
			n.last, n.begun = first, true
		}
		if n.runs[0] = n.runs[0][1:]; len(n.runs[0]) == 0 {
			heap.Pop((*runHeap)(n))
		} else {
			heap.Fix((*runHeap)(n), 0)
		}
	}
	return taken
}

// runHeap is names as a heap.Interface.
type runHeap names

func (h *runHeap) Len() int           { return len(h.runs) }
func (h *runHeap) Less(i, j int) bool { return h.runs[i][0].compare(h.runs[j][0]) < 0 }
func (h *runHeap) Swap(i, j int)      { h.runs[i], h.runs[j] = h.runs[j], h.runs[i] }
func (h *runHeap) Push(run any)       { h.runs = append(h.runs, run.([]txids)) }

func (h *runHeap) Pop() any {
	last := len(h.runs) - 1
	h.runs[last], h.runs = nil, h.runs[:last]
	return nil
}
