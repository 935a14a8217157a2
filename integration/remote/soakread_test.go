package remote

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// soakChecks prints ok, and for a state that is sound two zeros: each transaction of
// ltxfstest.Database adds row n, gives row n/2 500 bytes, and deletes row n/3.
const soakChecks = `PRAGMA integrity_check;
	WITH last (n) AS (SELECT coalesce(max(id), 0) FROM entry)
	SELECT n - n/3 - (SELECT count(*) FROM entry), (SELECT count(*) FROM entry WHERE id <= n/3 OR id <= n/2 AND length(body) <> 500) FROM last`

// use has the database written and the mount read until the returned function is called.
func (s *soakRun) use() (stop func()) {
	stopped := make(chan struct{})
	var users sync.WaitGroup
	loop := func(do func()) {
		users.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
					do()
				}
			}
		})
	}
	loop(func() { ltxfstest.WriteFor(time.Second, s.source) })
	for range 2 {
		p, tick := ltxfstest.NewProcess(s.t, s.dir, nil), time.NewTicker(100*time.Millisecond)
		loop(func() {
			<-tick.C
			began := time.Now()
			if err := s.read(p); err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.failed = append(s.failed, soakSpan{began, time.Now(), err.Error()})
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(stopped)
		users.Wait()
	})
	s.t.Cleanup(stop)
	return stop
}

// read reads a state or a file. That it was deleted meanwhile is no error.
func (s *soakRun) read(p *ltxfstest.Process) error {
	dir := []string{"db/at", "db/at", "ltx/0000", "ltx/0001", "ltx/0002", "ltx/0009"}[rand.N(6)]
	names, err := p.ReadDir(dir)
	if dir == "db/at" && rand.N(2) == 0 {
		names = make([]string, 1)
		names[0], err = p.Readlink("db/latest.db")
		names[0] = path.Base(names[0])
	}
	names = slices.DeleteFunc(names, func(name string) bool { return path.Ext(name) == ".tmp" })
	if err != nil || len(names) == 0 {
		return err
	}
	name, count := names[rand.N(len(names))], &s.files
	if dir == "db/at" {
		count, err = &s.states, s.readState(p, dir+"/"+name)
	} else if data, rerr := p.ReadFile(dir + "/" + name); rerr != nil {
		err = rerr
	} else if _, err := ltxfile.Verify(s.t.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
		s.t.Errorf("%s/%s: %v", dir, name, err)
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE) {
		if now, lerr := p.ReadDir(dir); lerr == nil && !slices.Contains(now, name) {
			count, err = &s.missed, nil
		}
	}
	if err != nil {
		return fmt.Errorf("read %s/%s: %w", dir, name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*count++
	return nil
}

// cantRead is how SQLite says that it couldn't read, and its integrity check of a page in the
// middle of a row.
var cantRead = regexp.MustCompile(`unable to open database|disk I/O error|error code=266|failed to get page \d+`)

// readState opens a state with SQLite, which doesn't tell errnos: so it is read again for one.
func (s *soakRun) readState(p *ltxfstest.Process, path string) error {
	r := ltxfstest.Run(s.t, 2*readDeadline, "sqlite3", "-readonly", s.dir+"/"+path, soakChecks)
	if r.Stdout == "ok\n0|0\n" {
		return nil
	}
	if !cantRead.MatchString(r.Stdout + r.Stderr) {
		s.t.Error(r)
	}
	if _, err := p.ReadFile(path); err != nil {
		return err
	}
	return errors.New(r.String())
}
