package ltxfstest

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Replicator makes the replica of an SQLite database that nobody writes to meanwhile,
// as Litestream would: a snapshot, and then a file for each later state, with the pages
// that have changed.
type Replicator struct {
	Dir string // of the replica, in Litestream's file layout

	db    string
	seed  maphash.Seed
	pages []uint64 // hashes
	last  ltx.TXID
	at    time.Time
}

// NewReplicator returns one that has copied nothing yet. The first transaction is at
// at, the others follow a second apart.
func NewReplicator(dir, db string, at time.Time) *Replicator {
	return &Replicator{Dir: dir, db: db, seed: maphash.MakeSeed(), at: at}
}

// Sync adds a file for what the database is now, and returns its path.
func (r *Replicator) Sync(t testing.TB) string {
	t.Helper()
	r.last++
	r.at = r.at.Add(time.Second)
	name := replica.Name{Level: 0, MinTXID: r.last, MaxTXID: r.last}
	if r.last == 1 {
		name.Level = replica.SnapshotLevel
	}
	path := filepath.Join(r.Dir, replica.LitestreamFile.LevelDir(name.Level), name.Base())
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *Replicator) write(path string) (err error) {
	in, err := os.Open(r.db)
	if err != nil {
		return err
	}
	defer in.Close()
	var head [18]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	pageSize := uint32(head[16])<<8 | uint32(head[17])
	if pageSize == 1 {
		pageSize = 65536
	}
	commit := uint32(info.Size() / int64(pageSize))
	if int64(commit)*int64(pageSize) != info.Size() || pageSize == 0 {
		return fmt.Errorf("%s: %d bytes in pages of %d", r.db, info.Size(), pageSize)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close(), os.Chtimes(path, r.at, r.at)) }()
	buffered := bufio.NewWriterSize(out, 1<<20)
	enc, err := ltx.NewEncoder(buffered)
	if err != nil {
		return err
	}
	h := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
		MinTXID: r.last, MaxTXID: r.last, Timestamp: r.at.UnixMilli(),
	}
	if err := enc.EncodeHeader(h); err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	br, page := bufio.NewReaderSize(in, 1<<20), make([]byte, pageSize)
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if _, err := io.ReadFull(br, page); err != nil {
			return err
		}
		sum := maphash.Bytes(r.seed, page)
		old := pgno <= uint32(len(r.pages))
		if pgno == h.LockPgno() || old && r.pages[pgno-1] == sum {
			if !old {
				r.pages = append(r.pages, sum)
			}
			continue
		}
		if old {
			r.pages[pgno-1] = sum
		} else {
			r.pages = append(r.pages, sum)
		}
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			return err
		}
	}
	r.pages = r.pages[:commit]
	return errors.Join(enc.Close(), buffered.Flush())
}
