package service

import (
	"context"
	"path/filepath"
	"time"

	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// useTimeout bounds the first look at the store of a database: who looks into many
// directories waits for each that doesn't answer.
const useTimeout = 10 * time.Second

// listFreshness is how old a list of databases may be unless the user says otherwise.
const listFreshness = time.Second

// databases are what a mount of all shows. A replica is checked when it is used.
func (s *server) databases() *fs.Databases {
	freshness := listFreshness
	if s.cfg.Freshness != nil {
		freshness = *s.cfg.Freshness
	}
	unread := "" // what was logged last
	return &fs.Databases{
		Freshness: freshness,
		List: func(ctx context.Context) ([]string, error) {
			names, err := s.cfg.Databases.List(ctx, s.cfg.Mountpoint)
			switch {
			case err == nil:
				unread = ""
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case err.Error() != unread:
				unread = err.Error()
				s.log.Warn("databases can't be looked for everywhere", "config", s.cfg.Config, "error", err)
			}
			return names, nil
		},
		Open: func(ctx context.Context, name string) (fs.Tree, error) {
			source, err := s.cfg.Databases.Source(name)
			if err != nil {
				return fs.Tree{}, err
			}
			log := s.log.With("database", name)
			if err := resolve(preflight.New(log), &source); err != nil {
				return fs.Tree{}, err
			}
			ctx, cancel := flight.Deadline(ctx, useTimeout)
			defer cancel()
			r, err := s.open(ctx, &source, log)
			if err != nil {
				return fs.Tree{}, err
			}
			log.Info("opened", "replica", source.Name(), "layout", r.Layout.Name)
			s.lookForLeftovers(&source)
			return s.tree(&source, r, nil), nil
		},
	}
}

// resolve makes the path of a replica on disk one without links. A mount of ltxfs isn't
// looked into: this one would wait for itself.
func resolve(check *preflight.Checker, source *settings.Source) error {
	if !source.OnDisk() {
		return nil
	}
	if err := check.NoMount(source.Path); err != nil {
		return err
	}
	if path, err := filepath.EvalSymlinks(source.Path); err == nil {
		source.Path = path
	}
	return check.NoMount(source.Path)
}

// tree is how a replica that was opened is shown.
func (s *server) tree(source *settings.Source, r *replicas.Opened, dir *staging.Dir) fs.Tree {
	freshness := r.Store.Properties().Freshness
	if s.cfg.Freshness != nil {
		freshness = *s.cfg.Freshness
	}
	t := fs.Tree{ID: source.ID(), Store: r.Store, Staging: dir, Freshness: freshness, ExactTimes: s.cfg.ExactTimes}
	if s.cfg.RefreshNew && !source.OnDisk() {
		t.RefreshAll = s.cfg.RefreshAll
	}
	return t
}
