package remote

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// giantSize is what a file has in pages, in bytes.
	giantSize     = 2 << 30
	giantPageSize = 64 << 10

	// giantReaders read the file at once, each a part of it.
	giantReaders = 64
	giantShare   = giantSize / giantReaders

	// giantTimeout bounds writing the file, and reading it once.
	giantTimeout = 4 * time.Minute

	// memoryOverhead is what a mount may have resident beside its budget.
	memoryOverhead = 64 << 20
)

// A file many times as large as the budget is written, and read by one and by many,
// and the mount's memory stays within the promise all the while.
//
// It leaves other tests little of the machine, so that none but its own parts run at
// once.
func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   *s3test.Kind
		flags  []string
		budget int64
	}{
		{name: "default budget", kind: s3test.MinIO, budget: 128 << 20},
		{name: "small budget", kind: s3test.VersityGW, flags: []string{"--cache-size=16MiB"}, budget: 16 << 20},
	} {
		t.Run(test.name+" on "+test.kind.Name, func(t *testing.T) {
			t.Parallel()
			server := test.kind.Shared(t)
			m := ltxfstest.MountWith(t, server.URL(server.Bucket(t), "giant"), ltxfstest.MountOptions{
				Flags: append(test.flags, "--rw"), Env: server.Env(),
			})
			path := m.Path("ltx", "0009", ltx.FormatFilename(1, 9))
			var peaks []string
			step := func(name string, do func()) {
				began := time.Now()
				do()
				peak := m.Memory(t)
				peaks = append(peaks, fmt.Sprintf("%s: %d MiB in %.1f s", name, peak>>20, time.Since(began).Seconds()))
				require.LessOrEqual(t, peak, test.budget+memoryOverhead, "peak resident memory, by step: %q", peaks)
			}
			want := &sums{whole: sha256.New(), share: giantShare}
			step("write", func() { writeGiant(t, path, want) })
			step("read", func() { require.Equal(t, want.String(), giantSum(t, "cat", path)) })
			require.Greater(t, m.Memory(t), test.budget, "the cache was never full, and the test shows nothing")
			step("read at once", func() { readAtOnce(t, path, want) })
			t.Logf("peak resident memory with a budget of %d MiB: %s", test.budget>>20, strings.Join(peaks, ", "))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// writeGiant has dd write a valid LTX file that nothing makes smaller, and adds it
// to sums.
func writeGiant(t *testing.T, path string, sums *sums) {
	t.Helper()
	r, w := io.Pipe()
	defer r.Close() // if dd fails, lest the encoder wait for ever
	go func() { _ = w.CloseWithError(encodeGiant(io.MultiWriter(w, sums))) }()
	cmd := exec.Command("dd", "of="+path, "bs=1M", "iflag=fullblock", "status=none")
	cmd.Stdin = r
	result := ltxfstest.RunCmd(t, giantTimeout, cmd)
	require.Zero(t, result.Code, "%s", result)
	require.GreaterOrEqual(t, sums.n, int64(giantSize))
}

func encodeGiant(w io.Writer) error {
	enc, err := ltx.NewEncoder(w)
	if err != nil {
		return err
	}
	const pages = giantSize/giantPageSize + 1 // the lock page isn't in the file
	err = enc.EncodeHeader(ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: giantPageSize, Commit: pages,
		MinTXID: 1, MaxTXID: 9, Timestamp: storetest.DefaultTime.UnixMilli(),
	})
	page := storetest.Bytes(1, giantPageSize)
	for pgno := uint32(1); pgno <= pages && err == nil; pgno++ {
		if pgno == ltx.LockPgno(giantPageSize) {
			continue
		}
		binary.BigEndian.PutUint32(page, pgno) // no two are the same
		err = enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page)
	}
	if err != nil {
		return err
	}
	return enc.Close()
}

// readAtOnce reads the file by many processes at once, past what the kernel has of
// it.
func readAtOnce(t *testing.T, path string, want *sums) {
	t.Helper()
	ltxfstest.MustRun(t, "dd", "if="+path, "iflag=nocache", "count=0", "status=none")
	var readers sync.WaitGroup
	got := make([]string, giantReaders)
	for i := range got {
		readers.Go(func() {
			got[i] = giantSum(t, "dd", "if="+path, "bs=1M", "iflag=fullblock", fmt.Sprint("skip=", i*giantShare>>20),
				fmt.Sprint("count=", giantShare>>20), "status=none")
		})
	}
	readers.Wait()
	require.Equal(t, want.shares, got)
}

// giantSum is the SHA-256 of what a program writes. It is taken here, as sha256sum
// takes five times as long.
func giantSum(t *testing.T, name string, args ...string) string {
	t.Helper()
	sum := sha256.New()
	cmd := exec.Command(name, args...)
	cmd.Stdout = sum
	if result := ltxfstest.RunCmd(t, giantTimeout, cmd); result.Code != 0 {
		t.Error(result)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// sums are the SHA-256 of what is written to it, and of each share of it.
type sums struct {
	whole  hash.Hash
	share  int64
	part   hash.Hash // of the share that isn't whole yet
	shares []string
	n      int64
}

// Write implements io.Writer.
func (s *sums) Write(p []byte) (int, error) {
	s.whole.Write(p)
	for rest := p; len(rest) > 0; {
		if s.part == nil {
			s.part = sha256.New()
		}
		n := min(int64(len(rest)), s.share-s.n%s.share)
		s.part.Write(rest[:n])
		rest = rest[n:]
		if s.n += n; s.n%s.share == 0 {
			s.shares = append(s.shares, hex.EncodeToString(s.part.Sum(nil)))
			s.part = nil
		}
	}
	return len(p), nil
}

func (s *sums) String() string { return hex.EncodeToString(s.whole.Sum(nil)) }
