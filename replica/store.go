package replica

import (
	"context"
	"io"
	"iter"
	"os"
	"time"

	"github.com/superfly/ltx"
)

// Store reads and writes the LTX files of one replica, with the verbs of
// Litestream's guide.
//
// All methods may be called at once from many goroutines. All take their deadline
// from ctx, return promptly once it is done, and then return an error that wraps
// ctx.Err(). Errors name the operation and the file (FileError) and wrap
//
//   - os.ErrNotExist: the store has no such file;
//   - ErrUnavailable: the store itself is gone; never os.ErrNotExist;
//   - os.ErrPermission: the store refuses these credentials;
//   - ErrReplaced: the name now holds another version (OpenLTXFile, OpenLocal);
//   - os.ErrExist: the name is taken, for an exclusive write;
//   - os.ErrInvalid: a level, TXID range, offset or size that can't be;
//   - errors.ErrUnsupported: the store has no such thing (OpenLocal, Space).
//
// Any other error is the store's, and may pass if tried again.
//
// Callers write or delete one name once at a time, by a lock, as the mount's tree and
// ClientOf do: a store that makes sure of what it has written takes the next change for
// a fault. It can tell other processes' changes.
type Store interface {
	// Type is the store's kind as it stands in Litestream's configuration
	// and in a URL's scheme: "file", "s3".
	Type() string

	// Properties are what suits this kind of store.
	Properties() Properties

	// LTXFiles lists the files of a level by ascending min TXID, then ascending
	// max TXID. A level that doesn't exist is an empty level. What isn't a file
	// with an LTX name is passed over, and so is a file that vanishes while the
	// listing runs.
	//
	// The listing is lazy: it begins with the loop, and a loop that ends early
	// doesn't pay for the rest. An error is the last pair, beside a zero File.
	LTXFiles(ctx context.Context, level int, opts ListOptions) iter.Seq2[File, error]

	// StatLTXFile returns the file as it is in the store now.
	StatLTXFile(ctx context.Context, name Name, opts StatOptions) (File, error)

	// OpenLTXFile reads size bytes of a file from offset on, or all that follow
	// offset if size is 0. A range that reaches past the end of the file is cut
	// there, and one that starts at or past the end is empty; neither is an
	// error. A negative offset or size is os.ErrInvalid.
	//
	// It reads f.Version and no other: it returns ErrReplaced, on opening or
	// while reading, rather than a byte of another. Without a version it reads
	// whatever bears the name when it opens it.
	//
	// ctx governs the reading as well: once it is done, Read fails. A body
	// that breaks off is an error of Read, never an early io.EOF.
	OpenLTXFile(ctx context.Context, f File, offset, size int64) (io.ReadCloser, error)

	// WriteLTXFile stores content under a name, replacing what was there.
	// Others see the old file or the whole new one, at every moment and after
	// every failure, and nothing is left behind by a write that fails or is
	// cancelled. Before it returns, the file has reached stable storage and the
	// store has been seen to give back what was written.
	//
	// Content needn't be LTX: strictness is the business of whoever calls. The
	// ModTime is the timestamp in the LTX header, or the time of the upload
	// where there is none. An error of content fails the write with that error.
	WriteLTXFile(ctx context.Context, name Name, content Content, opts WriteOptions) (File, error)

	// DeleteLTXFiles deletes files. One that doesn't exist counts as deleted.
	// It tries every file, and its error names each that is left.
	DeleteLTXFiles(ctx context.Context, names ...Name) error

	// OpenLocal opens f.Version for reading, if it is a file on this machine
	// that the kernel can read by itself. Without a version, that is
	// os.ErrInvalid.
	OpenLocal(ctx context.Context, f File) (*os.File, error)

	// Space is the room in the store, where that can be told without a network.
	Space(ctx context.Context) (Space, error)
}

// ListOptions say what a listing is to tell. The zero value lists a whole level,
// with the times that the store gives without a request for each file.
type ListOptions struct {
	// From leaves out files with a lower min TXID.
	From ltx.TXID

	// NamesOnly leaves the rest of a File out, where it costs anything.
	NamesOnly bool

	// ExactTimes makes every ModTime the LTX timestamp, whatever it costs.
	ExactTimes bool

	// AnyOrder lets files come in the order in which the store lists them, and more than
	// once: the last counts. Without it they come in the order of names, each once. The loop
	// must be quick then, and not use the store.
	AnyOrder bool

	// Known, if set, returns the exact time of a version for which it needn't
	// be found out again. Many goroutines may call it at once.
	Known func(f File) (t time.Time, ok bool)

	// Stray, if set, is called with what is in the level's directory and isn't a file of the
	// replica: by its name, or, on disk, by what it is. Many goroutines may call it at once.
	Stray func(base string)
}

// SetKnownTime sets the exact time of f if it is known.
func (o ListOptions) SetKnownTime(f *File) (known bool) {
	if o.Known == nil {
		return false
	}
	t, known := o.Known(*f)
	if known {
		f.ModTime = t
	}
	return known
}

// StatOptions say what StatLTXFile is to tell.
type StatOptions struct {
	// ExactTime makes the ModTime the LTX timestamp, whatever it costs.
	ExactTime bool

	// Known, if not zero, is the version that the caller knows by the name. A store
	// that shows the same version in other words returns it as it is known.
	Known Version
}

// Content is what a write stores. Each part is read at least once, in no
// particular order, by several goroutines at once. *bytes.Reader and
// *io.SectionReader are Contents.
type Content interface {
	io.ReaderAt
	Size() int64 // in bytes
}

// WriteOptions say how a write is to be done.
type WriteOptions struct {
	// Exclusive makes the write fail with os.ErrExist, and change nothing, if
	// the store has a file of that name by the time that this one would become
	// visible. Of several at once, one succeeds.
	Exclusive bool

	// Pace, if set, is called before n bytes of content are sent, again when
	// they are sent again, and may wait. Its error fails the write.
	Pace func(ctx context.Context, n int) error

	// Digest, if set, was given all of content in order. What is published then is
	// what the digest has seen, or the write fails with ErrChanged. Content is read no
	// more often for that.
	Digest Digest
}

// Properties are what suits a kind of store, unless the user says otherwise.
type Properties struct {
	// Freshness is how old what is shown of others' work may be.
	Freshness time.Duration

	// Settle is how long the store may go on contradicting a change that was
	// made through it.
	Settle time.Duration

	// Requests is how many operations may be under way; 0 is any number.
	Requests int

	// Local is set if the files are on this machine, so that neither a stat nor
	// Space asks a network.
	Local bool

	// Unordered is set once the store was seen to list in another order than that of names.
	Unordered bool

	// NewDigest, if set, makes the Digest that also takes the other checksums that the
	// store needs. With another, it reads content once more.
	NewDigest func() Digest

	// Lacks are what the store was found to be unable to do so far, in words.
	Lacks []string
}

// Space is the room in a store, in bytes and in files.
type Space struct {
	Total, Free, Available int64
	Files, FilesFree       int64
}
