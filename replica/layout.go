package replica

import (
	"fmt"
	"strings"
)

// Layout is where a store keeps the files of each level. Its zero value is no
// layout.
type Layout struct {
	// Name is what --layout takes.
	Name string

	// level is the directory of a level, as a format for its number.
	level string

	// snapshots, if set, is the directory of SnapshotLevel instead.
	snapshots string
}

// The layouts in use. They share no directory, so that the files in a store
// tell its layout.
var (
	// LitestreamFile is Litestream's on disks, and over SFTP, ABS, GCS, NATS
	// and WebDAV.
	LitestreamFile = Layout{Name: "litestream-file", level: "ltx/%d"}

	// LitestreamS3 is Litestream's in S3 and OSS.
	LitestreamS3 = Layout{Name: "litestream-s3", level: "%04x"}

	// Guide is the one in Litestream's guide for implementers of clients.
	Guide = Layout{Name: "guide", level: "ltx/%04d", snapshots: "snapshots"}
)

// Layouts is the table of all layouts.
var Layouts = []Layout{LitestreamFile, LitestreamS3, Guide}

// LayoutAuto is what --layout takes to have the layout detected.
const LayoutAuto = "auto"

// LevelDir is the directory of a level, relative to the replica's root, with
// slashes and none at either end.
func (l Layout) LevelDir(level int) string {
	if level == SnapshotLevel && l.snapshots != "" {
		return l.snapshots
	}
	return fmt.Sprintf(l.level, level)
}

// LevelDirs are the directories of all levels, in the order of the levels.
func (l Layout) LevelDirs() []string {
	dirs := make([]string, 0, MaxLevel+1)
	for level := MinLevel; level <= MaxLevel; level++ {
		dirs = append(dirs, l.LevelDir(level))
	}
	return dirs
}

// IsZero reports whether l is no layout.
func (l Layout) IsZero() bool { return l.Name == "" }

func (l Layout) String() string { return l.Name }

// LayoutByName returns the layout that --layout names. LayoutAuto gives the
// zero Layout.
func LayoutByName(name string) (Layout, error) {
	if name == LayoutAuto {
		return Layout{}, nil
	}
	names := make([]string, 0, len(Layouts)+1)
	for _, l := range Layouts {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	names = append(names, LayoutAuto)
	return Layout{}, fmt.Errorf("unknown layout %q: it must be one of %s", name, strings.Join(names, ", "))
}

// DetectLayout returns the layout that a store uses. holds tells whether the
// store has at least one LTX file in one of a layout's level directories. A
// store without files gets fallback, and one with files in two layouts an
// error that wraps ErrMixedLayouts and names both.
func DetectLayout(holds func(Layout) (bool, error), fallback Layout) (Layout, error) {
	var found []Layout
	for _, l := range Layouts {
		ok, err := holds(l)
		if err != nil {
			return Layout{}, fmt.Errorf("detect layout: %w", err)
		}
		if ok {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return fallback, nil
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, l := range found {
		names[i] = l.Name
	}
	return Layout{}, fmt.Errorf("%w (%s): choose one with --layout, or move the other away",
		ErrMixedLayouts, strings.Join(names, " and "))
}
