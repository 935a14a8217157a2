package blocks

import (
	"context"
	"sync/atomic"
)

// Trace is where the bytes of reads came from.
type Trace struct {
	Blocks atomic.Int64 // that were read
	Missed atomic.Int64 // of these, that had to be fetched
}

type traceKey struct{}

// Traced returns a context with which reads add themselves up in t.
func Traced(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}
