package fs

import "github.com/ltxfs/ltxfs/cache/blocks"

// Usage is what a mount holds, and has done, in memory.
type Usage struct {
	Cache              blocks.Stats
	Budget, BudgetUsed int64 // bytes
	Replicas           int   // that have been opened
	Inodes             int   // of files, states and links that the kernel knows
	Unpublished        int   // files that were written and are in no replica
}

// Usage returns the figures as they are now.
func (m *Mounted) Usage() Usage {
	unpublished := 0
	trees := m.mount.opened()
	for _, t := range trees {
		unpublished += t.staged.Count()
	}
	return Usage{
		Cache:      m.mount.blocks.Stats(),
		Budget:     m.mount.budget.Size(),
		BudgetUsed: m.mount.budget.Used(),
		Replicas:   len(trees),
		Inodes:     m.mount.inodes.known(),

		Unpublished: unpublished,
	}
}
