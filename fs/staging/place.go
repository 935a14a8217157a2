package staging

import (
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/ltxfs/ltxfs/replica"
)

var (
	// ErrTaken means that a name is taken and must not be replaced.
	ErrTaken = errors.New("the name is taken")

	// ErrPublished means that a published file can't be changed in place.
	ErrPublished = errors.New("a published file can't be changed in place")

	// ErrUnlinked means that a staged file has lost its name.
	ErrUnlinked = fmt.Errorf("the staged file was removed: %w", os.ErrNotExist)
)

// Place is where a file is in its tree: a name, of whatever form, in a level's
// directory.
type Place struct {
	Level int
	Name  string
}

// String is the path below the tree's root, such as ltx/0000/upload.tmp.
func (p Place) String() string { return path.Join("ltx", LevelName(p.Level), p.Name) }

// LTX is the name of the replica's file that has this place. ok is false if it is
// no LTX name.
func (p Place) LTX() (name replica.Name, ok bool) { return replica.ParseName(p.Level, p.Name) }

// PlaceOf is the place of a published file.
func PlaceOf(name replica.Name) Place { return Place{name.Level, name.Base()} }

// LevelName is the name of a level's directory.
func LevelName(level int) string { return fmt.Sprintf("%04d", level) }
