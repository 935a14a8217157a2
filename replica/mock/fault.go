package mock

import (
	"context"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Op is an operation on the mock.
type Op string

// The operations that are counted and can meet a fault.
const (
	OpInit    Op = "init"    // the ReplicaClient's Init
	OpList    Op = "list"    // LTXFiles, when the loop begins
	OpNext    Op = "next"    // one file of a listing
	OpHead    Op = "head"    // the request for one file's exact time
	OpStat    Op = "stat"    // StatLTXFile
	OpOpen    Op = "open"    // OpenLTXFile
	OpRead    Op = "read"    // one Read of a reader
	OpWrite   Op = "write"   // WriteLTXFile, before the content is read
	OpPublish Op = "publish" // the same, after the content was read and before it is stored
	OpDelete  Op = "delete"  // one file of DeleteLTXFiles
)

// Fault is something that goes wrong. A call that meets it waits for Wait, then
// for Delay, and then fails with Err, or goes on if that is nil. It waits no
// longer than its context lets it.
type Fault struct {
	// Op is the operation that meets the fault; "" is every one.
	Op Op

	// File is the file that meets it; nil is every file, and what concerns
	// none.
	File *replica.Name

	// Err is what the operation fails with. The store wraps it as it does
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
func (s *Store) Inject(f Fault) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	af := &activeFault{Fault: f}
	s.faults = append(s.faults, af)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.faults {
			if other == af {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				return
			}
		}
	}
}

// Fail makes every call of an operation fail until the function that it returns
// is called.
func (s *Store) Fail(op Op, err error) (remove func()) {
	return s.Inject(Fault{Op: op, Err: err})
}

// FailOnce makes the next call of an operation fail.
func (s *Store) FailOnce(op Op, err error) { s.Inject(Fault{Op: op, Err: err, Times: 1}) }

// FailFile makes every call of an operation on one file fail until the function
// that it returns is called.
func (s *Store) FailFile(op Op, name replica.Name, err error) (remove func()) {
	return s.Inject(Fault{Op: op, File: &name, Err: err})
}

// ClearFaults takes all faults away.
func (s *Store) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// begin counts a call of an operation and lets it meet its faults. name may be
// nil. The store must not be locked.
func (s *Store) begin(ctx context.Context, op Op, name *replica.Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	s.counts[op]++
	if name != nil {
		s.files[opKey{op, *name}]++
	}
	faults := s.meet(op, name, 0)
	s.mu.Unlock()
	return suffer(ctx, faults)
}

// meet returns the faults that a call meets. For OpRead, read is how many bytes
// the reader has handed out.
func (s *Store) meet(op Op, name *replica.Name, read int64) []Fault {
	var met []Fault
	for _, f := range s.faults {
		if f.Op != "" && f.Op != op || f.File != nil && (name == nil || *f.File != *name) || read < f.AfterBytes {
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
