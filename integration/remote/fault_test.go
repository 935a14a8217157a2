package remote

import (
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

func TestFaultSmoke(t *testing.T) {
	r := newRig(t, s3test.MinIO, rigOptions{})
	remove := r.proxy.Intercept(r.proxy.Hang())
	var wg sync.WaitGroup
	wg.Go(func() { o := r.read(r.seeds[2], direct); t.Log("direct", o.took, o.errno, o.stderr, len(o.data)) })
	wg.Go(func() { o := r.read(r.seeds[3], buffered); t.Log("buffered", o.took, o.errno, o.stderr, len(o.data)) })
	wg.Go(func() { n, o := r.list(1); t.Log("ls", o.took, o.errno, o.stderr, n) })
	wg.Go(func() { o := r.read(r.seeds[0], buffered); t.Log("read cached?", o.took, o.errno, o.stderr, len(o.data)) })
	wg.Go(func() {
		for _, args := range [][]string{{"cat", r.m.Path(r.seeds[4].path())}, {"dd", "iflag=direct", "bs=128k", "if=" + r.m.Path(r.seeds[5].path())}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Start()
			time.Sleep(2 * time.Second)
			cmd.Process.Kill()
			began := time.Now()
			cmd.Wait()
			t.Log("killed", args, time.Since(began))
		}
	})
	wg.Wait()
	remove()
	r.requireRecovered()
}
