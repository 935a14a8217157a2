package database

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTreesShrink: of pages that are forgotten, a tree keeps no memory.
func TestTreesShrink(t *testing.T) {
	const children, pages = 400, 600
	memory := &counter{}
	trees := &trees{most: 64 << 20, memory: memory}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, tree, page := heap(), trees.newTree(nil), make([]byte, 4096)
	for i := range uint32(pages) {
		below := make([]uint32, children)
		for j := range below {
			below[j] = pages + 2 + i*children + uint32(j)
		}
		fillInterior(page, interiorIndex, i+2, below)
		tree.see(i+2, page, pages*(children+1)+2)
	}
	require.Equal(t, pages*children, len(tree.parents))
	assert.LessOrEqual(t, heap()-before, memory.n.Load())
	for trees.recent.Len() > 1 {
		trees.drop(trees.recent.Front().Value.(*interior))
	}
	assert.LessOrEqual(t, heap()-before, memory.n.Load()+512<<10)
	require.Equal(t, children, len(tree.parents))
	runtime.KeepAlive(tree)
}
