package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/internal/logging"
)

const (
	// barEvery is how often a bar on a terminal is drawn, and lineEvery how often there is a
	// line elsewhere.
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
)

// progress shows how much of a work is done: on a terminal as a line that changes, elsewhere
// as a line now and then.
type progress struct {
	w     io.Writer
	what  string
	bar   bool
	total int64 // bytes
	began time.Time

	mu    sync.Mutex
	files int // of these, so many are done; 0 if it isn't about files
	of    int
	done  int64
	had   int64 // of these, what was done before
	shown time.Time
}

func newProgress(w io.Writer, what string, total int64) *progress {
	p := &progress{w: w, what: logging.Shown(what), bar: logging.IsTerminal(w), total: total, began: time.Now()}
	p.shown = p.began
	return p
}

// begin notes that there is more to do.
func (p *progress) begin(files int, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of += files
	p.total += n
}

// file notes that so many files more are done, and n bytes.
func (p *progress) file(files int, n int64) {
	p.mu.Lock()
	p.files += files
	p.mu.Unlock()
	p.add(n, false)
}

// add notes that n bytes more are done. What was done before tells nothing of how long the
// rest takes.
func (p *progress) add(n int64, had bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if had {
		p.had += n
	}
	every := lineEvery
	if p.bar {
		every = barEvery
	}
	if now := time.Now(); now.Sub(p.shown) >= every {
		p.shown = now
		p.show(now)
	}
}

func (p *progress) show(now time.Time) {
	rate := float64(p.done-p.had) / now.Sub(p.began).Seconds()
	line := fmt.Sprintf("%s: %d %%, %s of %s, %s/s", p.what, 100*p.done/max(p.total, 1), humanSize(p.done), humanSize(p.total), humanSize(int64(rate)))
	if p.of > 0 {
		line += fmt.Sprintf(", %d of %d files", p.files, p.of)
	}
	if rate > 0 {
		line += fmt.Sprintf(", %v left", time.Duration(float64(p.total-p.done)/rate*float64(time.Second)).Round(time.Second))
	}
	if p.bar {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
