package mock

import "github.com/ltxfs/ltxfs/replica"

// Lag is how late a store shows what was done to it, as stores do that are only
// eventually consistent. It counts calls that look: LTXFiles, StatLTXFile
// and OpenLTXFile. With 1, the first of them after the change
// still finds what was there before. A listing finds what was shown when it was
// begun.
type Lag struct {
	// Writes is how many calls don't see a write yet.
	Writes int

	// Deletes is how many calls don't see a delete yet.
	Deletes int
}

// SetLag sets how late writes and deletes from now on show. The store's own
// writes don't wait until they show, although the contract wants that.
func (s *Store) SetLag(lag Lag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = lag
}

// ShowAll makes everything show that was done so far.
func (s *Store) ShowAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.pending {
		s.show(ch)
	}
	s.pending = nil
}

// change is a write, or a delete if object is nil, that doesn't show yet.
type change struct {
	name   replica.Name
	object *object
	left   int // calls that don't see it
}

// change does a write or a delete, which shows after the lag.
func (s *Store) change(name replica.Name, o *object) {
	ch := &change{name: name, object: o, left: s.lag.Writes}
	if o == nil {
		delete(s.stored, name)
		ch.left = s.lag.Deletes
	} else {
		s.stored[name] = o
	}
	s.pending = append(s.pending, ch)
	s.showDue()
}

// look counts a call that looks.
func (s *Store) look() {
	for _, ch := range s.pending {
		ch.left--
	}
	s.showDue()
}

// showDue shows the changes whose time has come. Those of one file show in
// their order.
func (s *Store) showDue() {
	waiting := make(map[replica.Name]bool)
	var rest []*change
	for _, ch := range s.pending {
		if ch.left > 0 || waiting[ch.name] {
			waiting[ch.name] = true
			rest = append(rest, ch)
			continue
		}
		s.show(ch)
	}
	s.pending = rest
}

func (s *Store) show(ch *change) {
	if ch.object == nil {
		delete(s.shown, ch.name)
		return
	}
	s.shown[ch.name] = ch.object
}

// forget drops the pending changes of a file, since it changes for good.
func (s *Store) forget(name replica.Name) {
	var rest []*change
	for _, ch := range s.pending {
		if ch.name != name {
			rest = append(rest, ch)
		}
	}
	s.pending = rest
}
