// Package staging keeps the files that a mount has not published yet, in a
// directory on local disk that mirrors the mount's tree.
package staging

import "time"

// Dir is the staging directory of one mount, locked by it.
type Dir struct{}

// Entry is a file in a staging directory.
type Entry struct {
	Name    string    // in the mount, such as ltx/0000/upload.tmp
	Path    string    // of the staged bytes on local disk
	Size    int64     // in bytes
	ModTime time.Time // of the last write
	Err     error     // why it is not published, nil if nothing has tried
}

// DefaultPath is where staging directories are unless the user says
// otherwise: /var/lib/ltxfs/staging for root, else
// $XDG_STATE_HOME/ltxfs/staging or ~/.local/state/ltxfs/staging.
func DefaultPath() (string, error) { panic("soon") }

// Open makes a directory for one mount of a replica under base, which it makes
// too (0700) if it is missing, and locks it. replica tells the replicas of one
// base apart: its canonical URL.
func Open(base, replica string) (*Dir, error) { panic("soon") }

// Path is the directory itself.
func (d *Dir) Path() string { panic("soon") }

// Leftovers are the files that earlier mounts of the same replica left here
// unpublished, as found by Open.
func (d *Dir) Leftovers() []Entry { panic("soon") }

// Close removes the directory if it holds no file, and releases the lock.
func (d *Dir) Close() error { panic("soon") }
