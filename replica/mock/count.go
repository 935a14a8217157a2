package mock

import "github.com/ltxfs/ltxfs/replica"

type opKey struct {
	op   Op
	name replica.Name
}

// Calls is how often an operation was called, those included that failed, but
// not those whose context was done already.
func (s *Store) Calls(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[op]
}

// CallsFor is how often an operation was called for one file.
func (s *Store) CallsFor(op Op, name replica.Name) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[opKey{op, name}]
}

// BytesRead is how many bytes readers have handed out.
func (s *Store) BytesRead() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytesRead
}

// ResetCalls sets the counts of calls and of bytes to zero.
func (s *Store) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
	clear(s.files)
	s.bytesRead = 0
}

// OpenReaders is how many readers have not been closed yet.
func (s *Store) OpenReaders() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openReaders
}

// OpenListings is how many listings have begun and not ended.
func (s *Store) OpenListings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openListings
}
