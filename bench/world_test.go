package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// delay is what the store behind Toxiproxy takes longer to answer.
const delay = 20 * time.Millisecond

// pageDelay is what a page of a listing takes in the synthetic store.
const pageDelay = 50 * time.Millisecond

const million = 1_000_000

// world is what the contestants have in common.
type world struct {
	b      *testing.B
	ctx    context.Context // ends when the bench is interrupted
	began  time.Time
	rounds int
	quick  bool

	dir    string              // holds all files of the run
	self   string              // the path of the bench, where every user can run it
	user   *syscall.Credential // who isn't root
	ltxfs  string              // its path
	server *s3test.Server
	bucket string
	client *s3.Client

	near, far, disk place
	paged           place              // lists a million files, and has nothing else
	toxi            *s3test.ToxicProxy // before far

	nearStalling, farStalling place
	steady                    map[string]string // endpoints where nothing stalls, by those where something does

	tuned map[string]transfer // how the SDK alone is fastest, by place
}

// place is where a replica is.
type place struct {
	name     string
	endpoint string // "" for the disk
}

func newWorld(ctx context.Context, b *testing.B) *world {
	b.Helper()
	w := &world{b: b, began: time.Now(), ctx: ctx, quick: *quickFlag, rounds: *roundsFlag, dir: b.TempDir(), tuned: map[string]transfer{}, steady: map[string]string{}}
	if w.rounds == 0 {
		w.rounds = 7
		if w.quick {
			w.rounds = 2
		}
	}
	// Other users must come in.
	require.NoError(b, os.Chmod(filepath.Dir(w.dir), 0o755))
	w.ltxfs = filepath.Join(w.dir, "ltxfs")
	build := exec.Command("go", "build", "-o", w.ltxfs, "../cmd/ltxfs")
	build.Stderr = os.Stderr
	require.NoError(b, build.Run(), "build ltxfs")

	w.self = filepath.Join(w.dir, "bench")
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(w.self, self, 0o755))
	w.user = ltxfstest.User(b)

	w.server = s3test.StartMinIO(b)
	w.bucket = w.server.Bucket(b)
	w.client = w.server.Client(b)
	w.toxi = s3test.Toxi(b, w.server.Endpoint)
	w.toxi.Latency(b, delay, 0)
	w.near = place{name: "MinIO", endpoint: w.server.Endpoint}
	w.far = place{name: fmt.Sprintf("MinIO, %v away", delay), endpoint: w.toxi.Endpoint}
	w.disk = place{name: "disk"}
	w.nearStalling, w.farStalling = w.stalling(w.near), w.stalling(w.far)
	paged := s3test.NewSynthetic(million)
	paged.Delay = pageDelay
	w.paged = place{name: fmt.Sprintf("a synthetic store, %v a page", pageDelay), endpoint: paged.Serve(b)}
	return w
}

// size is the size of the large file.
func (w *world) size() int64 {
	return pick(w, int64(1<<30), 128<<20)
}

// large is the size of the large file, in words.
func (w *world) large() string { return humanize.IBytes(uint64(w.size())) }

// deadline is how long one piece of work may take.
func (w *world) deadline() time.Duration {
	return pick(w, 2*time.Minute, 30*time.Second)
}

// pick is the one value in a full run, the other in a quick one.
func pick[T any](w *world, full, quick T) T {
	if w.quick {
		return quick
	}
	return full
}
