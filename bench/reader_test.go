package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// readerEnv makes the test binary read a file and print how long that took.
// Reading is done by a child, so that a mount that hangs can be given up, and so
// that it can be another user's.
const readerEnv = "LTXFSBENCH_READER"

// reading is what a reader does.
type reading struct {
	path   string
	source string // the file behind it, or itself
	block  int
	count  int  // reads
	random bool // from anywhere, or from the beginning on
	warm   bool // with all of it in the kernel's cache, or with none
	seed   uint64
}

func (r reading) args() []string {
	return []string{
		r.path, r.source, strconv.Itoa(r.block), strconv.Itoa(r.count),
		strconv.FormatBool(r.random), strconv.FormatBool(r.warm), strconv.FormatUint(r.seed, 10),
	}
}

func parseReading(args []string) (r reading, err error) {
	if len(args) != 7 {
		return r, fmt.Errorf("%d arguments", len(args))
	}
	r.path, r.source = args[0], args[1]
	var errs [5]error
	r.block, errs[0] = strconv.Atoi(args[2])
	r.count, errs[1] = strconv.Atoi(args[3])
	r.random, errs[2] = strconv.ParseBool(args[4])
	r.warm, errs[3] = strconv.ParseBool(args[5])
	r.seed, errs[4] = strconv.ParseUint(args[6], 10, 64)
	return r, errors.Join(errs[:]...)
}

// seconds is how long the reading takes a child that runs as cred.
func (r reading) seconds(b *testing.B, cred *syscall.Credential) float64 {
	b.Helper()
	cmd := exec.Command(readerBinary(b), r.args()...)
	cmd.Env = append(ltxfstest.Env(), readerEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	result := ltxfstest.RunCmd(b, 5*time.Minute, cmd)
	ns, err := strconv.ParseInt(strings.TrimSpace(result.Stdout), 10, 64)
	if result.Code != 0 || err != nil {
		b.Fatal(result)
	}
	return time.Duration(ns).Seconds()
}

// readerBinary is a copy of the test binary where other users can run it.
func readerBinary(b *testing.B) string {
	b.Helper()
	path := filepath.Join(filepath.Dir(ltxfstest.Binary()), "reader")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		b.Fatal(err)
	}
	return path
}

// serveReader is the main function of a reader.
func serveReader(args []string) {
	r, err := parseReading(args)
	if err == nil {
		var took time.Duration
		if took, err = r.do(); err == nil {
			fmt.Println(took.Nanoseconds())
			return
		}
	}
	fmt.Fprintln(os.Stderr, "read:", err)
	os.Exit(1)
}

func (r reading) do() (time.Duration, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if r.warm {
		_, err = io.CopyBuffer(io.Discard, onlyReader{f}, make([]byte, 1<<20))
	} else {
		err = errors.Join(evict(f.Name()), evict(r.source))
	}
	if err != nil {
		return 0, err
	}
	offsets := make([]int64, r.count)
	rnd := rand.New(rand.NewPCG(r.seed, 0))
	for i := range offsets {
		at := int64(i)
		if r.random {
			at = rnd.Int64N(info.Size() / int64(r.block))
		}
		offsets[i] = at * int64(r.block)
	}
	buf := make([]byte, r.block)
	began := time.Now()
	for _, off := range offsets {
		if _, err := f.ReadAt(buf, off); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// onlyReader keeps io.Copy from asking the file to copy itself.
type onlyReader struct{ io.Reader }

// evict makes the kernel drop what it has cached of a file, and of no other.
func evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
