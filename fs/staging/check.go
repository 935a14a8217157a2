package staging

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	errDisorder = errors.New("the file isn't written in order")
	errIdle     = errors.New("nothing is written any more")
)

// checkIdle is how long a check waits for more to be written. It holds memory meanwhile.
const checkIdle = time.Second

// check is one pass over a staged file, in order, which verifies it and takes the
// checksums that the store wants. It may run beside who writes the file.
type check struct {
	content io.ReaderAt
	digest  replica.Digest

	// These are set once done is closed.
	done   chan struct{}
	header ltx.Header
	err    error

	cancel func(error)   // ends one that runs beside a writer
	ended  chan struct{} // closed once that has let go of the file

	mu      sync.Mutex
	written int64         // bytes, from the beginning on
	whole   bool          // there will be no more
	changed chan struct{} // closed when any of these does
}

func (t *Files) newCheck(content io.ReaderAt, written int64) *check {
	return &check{content: content, digest: t.newDigest(), written: written, done: make(chan struct{}), changed: make(chan struct{})}
}

// set lets fn change what mu guards.
func (c *check) set(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until more than pos bytes are written, or all are.
func (c *check) await(ctx context.Context, pos int64) (written int64, whole bool, err error) {
	for {
		c.mu.Lock()
		written, whole, changed := c.written, c.whole, c.changed
		c.mu.Unlock()
		if written > pos || whole {
			return written, whole, nil
		}
		select {
		case <-changed:
		case <-time.After(checkIdle):
			return 0, false, errIdle
		case <-ctx.Done():
			return 0, false, context.Cause(ctx)
		}
	}
}

// size waits until the file is whole.
func (c *check) size(ctx context.Context) (size int64, err error) {
	for whole := false; !whole; {
		if size, whole, err = c.await(ctx, size); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// verify is the pass itself. Its buffers are as large as the file, and together no more
// than publishMemory.
func (c *check) verify(ctx context.Context, size int64) (ltx.Header, error) {
	buffer := int(min(size, ltxfile.BufferSize))
	written := &writtenReader{c, ctx, 0}
	r, w := io.Pipe()
	var copying sync.WaitGroup
	copying.Go(func() { _ = w.CloseWithError(c.copy(w, written, make([]byte, buffer))) })
	defer copying.Wait()
	defer r.Close() // lest it wait, if the bytes aren't valid
	return ltxfile.VerifyStream(ctx, bufio.NewReaderSize(r, buffer), func() (int64, error) { return c.size(ctx) })
}

// copy gives what r reads to w, which takes its time with it meanwhile, and to the
// digest.
func (c *check) copy(w io.Writer, r io.Reader, buffer []byte) error {
	for {
		n, err := r.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if _, err := c.digest.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// writtenReader reads what is written, and waits for it.
type writtenReader struct {
	check *check
	ctx   context.Context
	pos   int64
}

func (r *writtenReader) Read(p []byte) (int, error) {
	written, _, err := r.check.await(r.ctx, r.pos)
	if err != nil {
		return 0, err
	}
	left := written - r.pos
	if left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), left)]
	n, err := r.check.content.ReadAt(p, r.pos)
	r.pos += int64(n)
	switch {
	case n == len(p):
		return n, nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read at byte %d of %d: %w", r.pos, written, err)
}
