package fs

import "github.com/ltxfs/ltxfs/replica"

// DropListings has whatever the kernel asks from now on ask the stores. What it knows itself
// of a name, it keeps for as long as it was told, the freshness interval at most: to have it
// forget names would wait for requests that are under way, and a process that is killed while
// it waits for itself can't end.
func (m *Mounted) DropListings() {
	if m.mount.databases != nil {
		m.mount.databases.drop()
	}
	for _, t := range m.mount.opened() {
		for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
			t.index.Invalidate(level)
		}
	}
}
