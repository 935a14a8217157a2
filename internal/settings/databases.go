package settings

import (
	"context"
	"path/filepath"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/litestreamyml"
)

// Databases are those of Litestream's configuration. A database's name is its path below the
// deepest directory that all share.
type Databases struct {
	mount   *Mount
	file    *litestreamyml.Config
	base    string
	scanner *litestreamyml.Scanner
	env     Lookup
}

func (m *Mount) databases(env Lookup) (*Databases, error) {
	file, err := litestreamyml.Load(m.Config, env, !m.NoExpandEnv)
	if err != nil {
		return nil, configError(err)
	}
	base := file.Base()
	if base == "" {
		return nil, exitcode.Errorf(exitcode.NoReplica, "%s: there are no databases in it", m.Config)
	}
	return &Databases{m, file, base, file.Scanner(), env}, nil
}

// List returns the names of the databases that there are now. Of those that can't be looked
// for it returns an error beside the others. It doesn't look into mountpoint, which is without
// links. It is called by one goroutine at a time.
func (d *Databases) List(ctx context.Context, mountpoint string) ([]string, error) {
	names, err := d.scanner.Scan(ctx, mountpoint)
	for i, path := range names {
		names[i], _ = filepath.Rel(d.base, path) // it is below it
	}
	return names, err
}

// Source is the replica of a database.
func (d *Databases) Source(name string) (Source, error) {
	s, err := sourceOf(d.file, filepath.Join(d.base, name), d.env)
	if err == nil {
		err = d.mount.resolve(&s)
	}
	return s, err
}
