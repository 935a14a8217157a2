// Package bench measures ltxfs beside its peers and its limits, as `make bench`
// runs it. The peers are other programs that mount a bucket. The limits are what
// no mount can pass: the SDK alone, the plain file, a file that go-fuse serves from
// memory, Litestream or rclone without a mount.
//
// All of them do the same work in turn, in several rounds. In each round another
// one comes first. What counts are the ratios within a round, and of these the
// median: what else the machine does then meets all of them alike.
package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	rowsFlag     = flag.String("rows", "", "`groups` of rows to measure, with commas between them; all without it")
	roundsFlag   = flag.Int("rounds", 0, "`rounds`: 7 without it, or 2 with -quick")
	quickFlag    = flag.Bool("quick", false, "measure with less data and fewer rows")
	baselineFlag = flag.String("baseline", "", "`path` of another ltxfs to measure beside this one")
	peersFlag    = flag.String("peers", "", "`contestants` to measure beside ltxfs, with commas between them; all without it")
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childEnv) != "":
		os.Exit(serveChild(os.Stdin, os.Stdout))
	case os.Getenv(memoryEnv) != "":
		os.Exit(serveMemory(os.Args[1]))
	}
	const toolsEnv = "LTXFS_TOOLS"
	if os.Getenv(toolsEnv) == "" {
		tools, err := filepath.Abs("../.tools/bin")
		if err == nil {
			err = os.Setenv(toolsEnv, tools)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// BenchmarkAll is the whole bench: its rounds are its own, so that it runs once.
func BenchmarkAll(b *testing.B) {
	b.ReportMetric(0, "ns/op") // it says nothing
	// What this thread starts ends with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	w := newWorld(ctx, b)
	groups := chosenGroups(b, w)
	for _, g := range groups {
		w.progress("prepare %s", g.name)
		if err := g.prepare(w); err != nil {
			b.Fatalf("prepare %s: %v", g.name, err)
		}
	}
	results := newResults(w, groups)
	for round := range w.rounds {
		for _, g := range groups {
			w.toxi.Restart(b) // it keeps what the contestants have given up
			for _, p := range g.places {
				contestants := results.contestants(g, p)
				for i := range contestants {
					c := contestants[(i+round)%len(contestants)]
					w.progress("round %d of %d: %s, %s: %s", round+1, w.rounds, g.name, p.name, c.name)
					results.measure(g, p, c, round)
					if ctx.Err() != nil {
						b.Fatal("interrupted")
					}
				}
			}
		}
	}
	if err := results.write(); err != nil {
		b.Fatal(err)
	}
	for _, fault := range results.faults() {
		b.Error(fault)
	}
}

// chosenGroups are the groups of rows that -rows names.
func chosenGroups(b *testing.B, w *world) []*group {
	b.Helper()
	groups := allGroups(w)
	if *rowsFlag == "" {
		return groups
	}
	var chosen []*group
	for name := range strings.SplitSeq(*rowsFlag, ",") {
		i := slices.IndexFunc(groups, func(g *group) bool { return g.name == name })
		if i < 0 {
			b.Fatalf("-rows: there is no %q", name)
		}
		chosen = append(chosen, groups[i])
	}
	return chosen
}

// progress tells who waits what is being done.
func (w *world) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6v "+format+"\n", append([]any{time.Since(w.began).Round(time.Second)}, args...)...)
}
