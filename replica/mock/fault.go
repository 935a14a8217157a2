package mock

import (
	"context"
	"time"
)

// Op is an operation on the mock.
type Op string

// The operations that are counted and can meet a fault.
const (
	OpInit      Op = "init"      // Init
	OpList      Op = "list"      // LTXFiles
	OpNext      Op = "next"      // one Next of an iterator that finds a file
	OpHead      Op = "head"      // the request for one file's timestamp, with useMetadata
	OpStat      Op = "stat"      // StatLTXFile
	OpOpen      Op = "open"      // OpenLTXFile and OpenLTXFileVersion
	OpRead      Op = "read"      // one Read of a reader
	OpWrite     Op = "write"     // WriteLTXFile, -Version and -Exclusive, before the content is read
	OpPublish   Op = "publish"   // the same, after the content was read and before it is stored
	OpDelete    Op = "delete"    // one file of DeleteLTXFiles
	OpDeleteAll Op = "deleteall" // DeleteAll
)

// Fault is something that goes wrong. A call that meets it waits for Wait, then
// for Delay, and then fails with Err, or goes on if that is nil. It waits no
// longer than its context lets it.
type Fault struct {
	// Op is the operation that meets the fault; "" is every one.
	Op Op

	// File is the file that meets it; nil is every file, and what concerns
	// none.
	File *Key

	// Err is what the operation fails with. The client wraps it as it does
	// its own errors.
	Err error

	// Wait, if set, is waited for until it can be received from, by a value
	// or by being closed.
	Wait <-chan struct{}

	// Delay is waited for after Wait.
	Delay time.Duration

	// Skip is how many calls pass by unharmed first.
	Skip int

	// Times is how many calls meet the fault after those; 0 is all of them.
	Times int

	// AfterBytes, for OpRead, is how many bytes of the range a reader gets
	// before the fault.
	AfterBytes int64
}

type activeFault struct {
	Fault
	met int // calls that it was for
}

// Inject adds a fault and returns a function that takes it away. Of several
// faults that a call meets, all are waited for, and the first error counts.
func (c *ReplicaClient) Inject(f Fault) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	af := &activeFault{Fault: f}
	c.faults = append(c.faults, af)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, other := range c.faults {
			if other == af {
				c.faults = append(c.faults[:i:i], c.faults[i+1:]...)
				return
			}
		}
	}
}

// Fail makes every call of an operation fail until the function that it returns
// is called.
func (c *ReplicaClient) Fail(op Op, err error) (remove func()) {
	return c.Inject(Fault{Op: op, Err: err})
}

// FailOnce makes the next call of an operation fail.
func (c *ReplicaClient) FailOnce(op Op, err error) { c.Inject(Fault{Op: op, Err: err, Times: 1}) }

// FailFile makes every call of an operation on one file fail until the function
// that it returns is called.
func (c *ReplicaClient) FailFile(op Op, key Key, err error) (remove func()) {
	return c.Inject(Fault{Op: op, File: &key, Err: err})
}

// ClearFaults takes all faults away.
func (c *ReplicaClient) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// begin counts a call of an operation and lets it meet its faults. key may be
// nil. The client must not be locked.
func (c *ReplicaClient) begin(ctx context.Context, op Op, key *Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	c.counts[op]++
	if key != nil {
		c.files[opKey{op, *key}]++
	}
	faults := c.meet(op, key, 0)
	c.mu.Unlock()
	return suffer(ctx, faults)
}

// meet returns the faults that a call meets. For OpRead, read is how many bytes
// the reader has handed out.
func (c *ReplicaClient) meet(op Op, key *Key, read int64) []Fault {
	var met []Fault
	for _, f := range c.faults {
		if f.Op != "" && f.Op != op || f.File != nil && (key == nil || *f.File != *key) || read < f.AfterBytes {
			continue
		}
		f.met++
		if f.met > f.Skip && (f.Times == 0 || f.met <= f.Skip+f.Times) {
			met = append(met, f.Fault)
		}
	}
	return met
}

// suffer waits for faults and returns their error.
func suffer(ctx context.Context, faults []Fault) error {
	var first error
	for _, f := range faults {
		if f.Wait != nil {
			select {
			case <-f.Wait:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if f.Delay > 0 {
			timer := time.NewTimer(f.Delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		if first == nil {
			first = f.Err
		}
	}
	return first
}
