// Package replica defines what ltxfs needs of a store that holds a Litestream
// replica: the Client interface and its contract, the layouts in which stores
// keep the files, the URLs that name a store, and the errors that every client
// returns alike.
//
// Each store has a package below this one with a type called ReplicaClient.
// Package replicatest holds the suite that every one of them must pass.
package replica

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/superfly/ltx"
)

// Levels of a replica. Files enter at level 0 and are compacted upwards;
// SnapshotLevel holds whole databases.
const (
	MinLevel      = 0
	MaxLevel      = 9
	SnapshotLevel = 9
)

// Client reads and writes the LTX files of one replica. It is Litestream's
// ReplicaClient; the concrete clients also have
//
//	Init(ctx context.Context) error
//	SetLogger(logger *slog.Logger)
//
// and so satisfy Litestream v0.5's interface as they are.
//
// A file is named by its level and its TXIDs. The name doesn't identify the
// content: a range can be written again with other content. See Version.
//
// All methods may be called at once from many goroutines. All take their
// deadline from ctx, return promptly once it is done, and then return an error
// that wraps ctx.Err(). Errors name the operation and the file (FileError) and
// wrap
//
//   - os.ErrNotExist: the store has no such file;
//   - ErrUnavailable: the store itself is gone; never os.ErrNotExist;
//   - os.ErrPermission: the store refuses these credentials;
//   - ErrReplaced: the name now holds another version (VersionOpener and
//     LocalOpener only);
//   - os.ErrInvalid: a level, TXID range, offset or size that can't be.
//
// Any other error is the store's, and may pass if tried again.
type Client interface {
	// Type is the store's kind as it stands in Litestream's configuration
	// and in a URL's scheme: "file", "s3".
	Type() string

	// LTXFiles lists the files of a level whose min TXID is at least seek, by
	// ascending min TXID, then ascending max TXID. A level that doesn't exist
	// is an empty level. What isn't a file with an LTX name is passed over.
	//
	// The iterator is lazy: a caller that stops early doesn't pay for the
	// rest. A file that vanishes while the listing runs is passed over. An
	// error ends the iteration; Err and Close both return it, since callers
	// exist that ask only one of them.
	//
	// CreatedAt is the timestamp that the store gives without a request for
	// each file. With useMetadata it is the LTX timestamp, whatever it costs.
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)

	// OpenLTXFile reads size bytes of a file from offset on, or all that
	// follow offset if size is 0. A range that reaches past the end of the
	// file is cut there, and one that starts at or past the end is empty;
	// neither is an error. A negative offset or size is os.ErrInvalid.
	//
	// ctx governs the reading as well: once it is done, Read fails. A body
	// that breaks off is an error of Read, never an early io.EOF.
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)

	// WriteLTXFile stores what r holds under a name, replacing what was
	// there. Others see the old file or the whole new one, at every moment
	// and after every failure, and nothing is left behind by a write that
	// fails or is cancelled. Before it returns, the file has reached stable
	// storage and the store has been seen to give back what was written.
	//
	// Content needn't be LTX: strictness is the business of whoever calls.
	// CreatedAt is the timestamp in the LTX header, or the time of the
	// upload where there is none. An error of r fails the write with that
	// error.
	WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)

	// DeleteLTXFiles deletes files. One that doesn't exist counts as deleted.
	// It tries every file, and its error names each that is left.
	DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error

	// DeleteAll deletes every file of the replica, at every level, and
	// nothing that isn't the replica's, even in the same directory.
	DeleteAll(ctx context.Context) error
}

// Version tells one content of a file from another under the same name: the
// ETag in S3; on disk size, mtime, ctime and inode, and the time of birth where
// the file system has it. Another version needn't be another content. It is
// opaque, compared with ==, and "" when the client has none.
type Version string

// File is one version of one file, as a listing, a stat or a write found it.
type File struct {
	Level   int
	MinTXID ltx.TXID
	MaxTXID ltx.TXID
	Size    int64
	ModTime time.Time
	Version Version
}

// Name is the file's base name, as ltx.FormatFilename makes it, at a fraction of
// the cost.
func (f File) Name() string {
	const digits = "0123456789abcdef"
	name := []byte("0000000000000000-0000000000000000.ltx")
	for i := range 16 {
		shift := 60 - 4*i
		name[i] = digits[f.MinTXID>>shift&0xf]
		name[17+i] = digits[f.MaxTXID>>shift&0xf]
	}
	return string(name)
}

// Info is the file as Litestream's interfaces have it.
func (f File) Info() *ltx.FileInfo {
	return &ltx.FileInfo{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size, CreatedAt: f.ModTime}
}

// The interfaces below are what only some clients can do. Callers find out by As
// and have a slower way, or none, where it fails.

// VersionIterator is an iterator of LTXFiles that also knows the versions.
type VersionIterator interface {
	ltx.FileIterator

	// Version is the version of the file that Item returns.
	Version() Version
}

// Stater finds one file without a listing.
type Stater interface {
	// StatLTXFile returns the file as it is in the store now, or
	// os.ErrNotExist.
	StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (File, error)
}

// ExactStater finds one file and its LTX timestamp. It is for stores whose
// listings and StatLTXFile have another time, as in S3 the last-modified one.
type ExactStater interface {
	// StatLTXFileExact is StatLTXFile with the LTX timestamp as ModTime,
	// whatever it costs. A file without one has the time that a listing with
	// useMetadata gives it.
	StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (File, error)
}

// VersionOpener reads one version of a file and no other.
type VersionOpener interface {
	// OpenLTXFileVersion is OpenLTXFile for one version: it returns
	// ErrReplaced, on opening or while reading, rather than a byte of
	// another. f.Version must not be "".
	OpenLTXFileVersion(ctx context.Context, f File, offset, size int64) (io.ReadCloser, error)
}

// VersionWriter returns the version that a write made.
type VersionWriter interface {
	// WriteLTXFileVersion is WriteLTXFile, with the version in its result.
	WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error)
}

// ExclusiveWriter writes what must not replace anything.
type ExclusiveWriter interface {
	// WriteLTXFileExclusive is WriteLTXFileVersion, but if the store has a
	// file of that name by the time that this one would become visible, it
	// fails with an error that wraps os.ErrExist and changes nothing. Of
	// several at once, one succeeds.
	WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error)
}

// LocalOpener hands out descriptors of files on local disk, which the kernel
// can read without ltxfs in between.
type LocalOpener interface {
	// OpenLocal opens one version of a file for reading. It returns
	// ErrReplaced if the name holds another version now.
	OpenLocal(ctx context.Context, f File) (*os.File, error)
}

// Spacer knows how much room the store has, without asking a network.
type Spacer interface {
	Space(ctx context.Context) (Space, error)
}

// Space is the room in a store, in bytes and in files.
type Space struct {
	Total, Free, Available int64
	Files, FilesFree       int64
}

// Open reads a range of one version of f if the client can tell versions
// apart, and of whatever bears the name if it can't.
func Open(ctx context.Context, c Client, f File, offset, size int64) (io.ReadCloser, error) {
	if v, ok := As[VersionOpener](c); ok && f.Version != "" {
		return v.OpenLTXFileVersion(ctx, f, offset, size)
	}
	return c.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, offset, size)
}

// Write stores a file and returns it with its version if the client has one.
func Write(ctx context.Context, c Client, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error) {
	if v, ok := As[VersionWriter](c); ok {
		return v.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	}
	info, err := c.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
	if err != nil {
		return File{}, err
	}
	return File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID, Size: info.Size, ModTime: info.CreatedAt}, nil
}

// WriteExclusive stores a file unless there is one of that name, which is
// os.ErrExist. A client that isn't an ExclusiveWriter replaces it all the same:
// then it is the caller's own check before that counts, and another writer may
// come between the two.
func WriteExclusive(ctx context.Context, c Client, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (File, error) {
	if w, ok := As[ExclusiveWriter](c); ok {
		return w.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, r)
	}
	return Write(ctx, c, level, minTXID, maxTXID, r)
}
