package restore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// partSuffix is behind the name of a file that isn't whole yet, and notesSuffix behind
	// that of the notes on it.
	partSuffix  = ".ltxfs-part"
	notesSuffix = ".ltxfs-part-notes"

	hashSize = sha256.Size
	noteSize = 8 + hashSize
)

// part is a file that isn't whole yet. The notes on it say of which state it is, and then,
// for each chunk that was written, its number and a hash of its bytes. Whatever a crash
// leaves of either, a chunk is there only if its bytes have that hash.
type part struct {
	path  string
	file  *os.File
	notes *os.File
	done  map[int64][hashSize]byte // by an earlier call
	mu    sync.Mutex               // of who writes notes
}

// openPart opens what an earlier call has left of the same state, or begins anew.
func openPart(path, state string, size int64) (_ *part, err error) {
	p := &part{path: path + partSuffix}
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("restore to %s: %w", path, err)
		}
	}()
	if p.file, err = openOwn(p.path); err != nil {
		return nil, err
	}
	if err = unix.Flock(int(p.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.New("another ltxfs restores to it: wait for its end")
	} else if err != nil {
		return nil, err
	}
	opened, err := p.file.Stat()
	if err != nil {
		return nil, err
	}
	if named, err := os.Lstat(p.path); err != nil || !os.SameFile(opened, named) {
		return nil, errors.New("another ltxfs has restored to it just now")
	}
	if p.notes, err = openOwn(path + notesSuffix); err != nil {
		return nil, err
	}
	head := sha256.Sum256([]byte(state))
	if err = p.readNotes(head[:]); err != nil {
		return nil, err
	}
	return p, p.file.Truncate(size)
}

// openOwn makes a file, or opens one that nobody else can have written to.
func openOwn(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if !errors.Is(err, os.ErrExist) {
		return f, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (int(st.Uid) != os.Geteuid() || st.Nlink != 1 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0) {
		err = fmt.Errorf("%s is not of this user alone: move it away", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readNotes reads the notes, or begins new ones if they are on another state.
func (p *part) readNotes(head []byte) error {
	notes, err := os.ReadFile(p.notes.Name())
	if err != nil {
		return err
	}
	p.done = map[int64][hashSize]byte{}
	end := int64(len(head))
	if rest, ok := bytes.CutPrefix(notes, head); ok {
		for ; len(rest) >= noteSize; rest = rest[noteSize:] {
			p.done[int64(binary.BigEndian.Uint64(rest))] = [hashSize]byte(rest[8:])
			end += noteSize
		}
	} else if _, err := p.notes.WriteAt(head, 0); err != nil {
		return err
	}
	if err := p.notes.Truncate(end); err != nil {
		return err
	}
	_, err = p.notes.Seek(end, 0)
	return err
}

// has reports whether a chunk was written by an earlier call. It reads it into buf.
func (p *part) has(i int64, buf []byte) bool {
	want, ok := p.done[i]
	if !ok {
		return false
	}
	n, _ := p.file.ReadAt(buf, i*chunkSize)
	return n == len(buf) && sha256.Sum256(buf) == want
}

// write writes a chunk.
func (p *part) write(i int64, chunk []byte) error {
	if _, err := p.file.WriteAt(chunk, i*chunkSize); err != nil {
		return err
	}
	sum := sha256.Sum256(chunk)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.notes.Write(append(binary.BigEndian.AppendUint64(nil, uint64(i)), sum[:]...))
	return err
}

// publish gives the file its name, once it is on disk.
func (p *part) publish(path string, replace bool) error {
	err := p.file.Sync()
	switch {
	case err != nil:
	case replace:
		err = os.Rename(p.path, path)
	default:
		// A link doesn't replace what somebody else has put there meanwhile.
		switch err = os.Link(p.path, path); {
		case err == nil:
			err = os.Remove(p.path)
		case !errors.Is(err, os.ErrExist): // the file system has no links
			err = os.Rename(p.path, path)
		}
	}
	if err != nil {
		return fmt.Errorf("restore to %s: %w; all of it is in %s", path, err, p.path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("restore to %s: it is there, and may not outlast a crash: %w", path, err)
	}
	return os.Remove(p.notes.Name())
}

func (p *part) close() {
	for _, f := range []*os.File{p.file, p.notes} {
		if f != nil {
			_ = f.Close() // what counts was synced
		}
	}
}
