package bench

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// read reads a file once, by several readers, each its own part of it.
func (j job) read() (o outcome, err error) {
	if j.Object != nil {
		return j.Object.read()
	}
	info, err := os.Stat(j.Path)
	if err != nil {
		return o, err
	}
	part := info.Size() / int64(j.Readers)
	var readers errgroup.Group
	began := time.Now()
	for i := range int64(j.Readers) {
		readers.Go(func() error {
			f, err := os.Open(j.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			buf := make([]byte, j.Block)
			for off := i * part; off < (i+1)*part; off += int64(len(buf)) {
				if _, err := f.ReadAt(buf[:min(int64(len(buf)), (i+1)*part-off)], off); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = readers.Wait()
	o.Seconds = time.Since(began).Seconds()
	o.Bytes = part * int64(j.Readers)
	return o, err
}

// random reads blocks of a file from anywhere.
func (j job) random() (outcome, error) {
	if j.Object != nil {
		size, err := j.Object.size()
		if err != nil {
			return outcome{}, err
		}
		return j.scattered(size, j.Object.blockReader())
	}
	f, err := os.Open(j.Path)
	if err != nil {
		return outcome{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return outcome{}, err
	}
	if !j.Mmap {
		return j.scattered(info.Size(), func(buf []byte, off int64) error {
			_, err := f.ReadAt(buf, off)
			return err
		})
	}
	// Go lets no other goroutine run in the place of one that waits for a page.
	runtime.GOMAXPROCS(j.Readers + 1)
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return outcome{}, err
	}
	o, err := j.scattered(info.Size(), func(buf []byte, off int64) error {
		copy(buf, data[off:])
		return nil
	})
	return o, errors.Join(err, unix.Munmap(data))
}

// scattered makes j.Reads reads by j.Readers threads, at offsets that are the same
// for each contestant in a round, and others in the next.
func (j job) scattered(size int64, read func(buf []byte, off int64) error) (o outcome, err error) {
	rnd := rand.New(rand.NewPCG(j.Seed, 0))
	offsets := make([]int64, j.Reads)
	for i := range offsets {
		offsets[i] = rnd.Int64N(size/int64(j.Block)) * int64(j.Block)
	}
	took := make([]time.Duration, j.Reads)
	var next atomic.Int64
	var readers errgroup.Group
	began := time.Now()
	for range j.Readers {
		readers.Go(func() error {
			buf := make([]byte, j.Block)
			for i := next.Add(1) - 1; i < int64(j.Reads); i = next.Add(1) - 1 {
				began := time.Now()
				if err := read(buf, offsets[i]); err != nil {
					return err
				}
				took[i] = time.Since(began)
			}
			return nil
		})
	}
	err = readers.Wait()
	o.Seconds = time.Since(began).Seconds()
	o.Reads, o.Bytes = j.Reads, int64(j.Reads*j.Block)
	slices.Sort(took)
	o.P50 = took[len(took)/2].Seconds() * 1000
	o.P99 = took[len(took)*99/100].Seconds() * 1000
	return o, err
}

// evict makes the kernel drop what it has cached of a file, and of no other. It is
// read before: how the kernel had cached it decides which memory the next reader
// gets, and with it up to half of its speed.
func evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	drop := func() error { return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
	err = errors.Join(f.Sync(), drop()) // what isn't on disk yet stays
	buf := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Read(buf)
	}
	if err != io.EOF {
		return err
	}
	return drop()
}
