package staging

import (
	"context"
	"time"
)

// replacementGrace is how long an emptied copy of a published file waits for the
// open that began it. See Replace.
const replacementGrace = 10 * time.Second

// Replace makes the empty file that is to replace a published one, for an open
// that will come and find it there. Until that open has come, the file stays. If
// it never comes, or if nobody writes to the file, it goes.
func (t *Files) Replace(at Place) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.replace(at)
}

// replace is Replace. mu is held.
func (t *Files) replace(at Place) error {
	s := t.files[at]
	if s == nil {
		var err error
		if s, err = t.create(at, CreateOptions{Mode: t.opts.Mode, Replaces: true}); err != nil {
			return err
		}
		s.opens--
		s.closeIfUnused()
	}
	givenUp := time.Now().Add(replacementGrace)
	s.awaited = append(s.awaited, givenUp)
	time.AfterFunc(replacementGrace, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for len(s.awaited) > 0 && !s.awaited[0].After(givenUp) {
			s.awaited = s.awaited[1:]
		}
		s.dropIfUnused()
	})
	return nil
}

// dropIfUnused removes an emptied copy that nobody has open, has written to, or is
// about to open. Files.mu is held.
func (s *File) dropIfUnused() {
	if s.linked && s.opens == 0 && len(s.awaited) == 0 && s.unused() {
		s.files.unlink(s)
	}
}

// unused reports whether the file is an emptied copy of a published one that
// nobody has written to. Files.mu is held.
func (s *File) unused() bool {
	if !s.replaces {
		return false
	}
	st, err := s.stat()
	return err == nil && st.Size == 0
}

// Empty empties the file for an open, which may be the one it waited for, and
// which wants to replace what is there.
func (s *File) Empty(ctx context.Context) error {
	defer func() {
		s.files.mu.Lock()
		defer s.files.mu.Unlock()
		if len(s.awaited) > 0 {
			s.awaited = s.awaited[1:]
		}
		s.exclusive = false
	}()
	return s.Truncate(ctx, 0)
}

// ReplaceAgain begins a replacement for an open that was to empty this file and
// found it published, or gone with an earlier open. The name's next lookup must
// find the replacement, and not the published file.
func (s *File) ReplaceAgain() error {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	replaced := s.replaces && !s.linked
	if f := s.published.Load(); f != nil {
		// One that was published by a rename had another name, and that is
		// the one that was opened.
		replaced = PlaceOf(f.Name) == s.place
	}
	if !replaced {
		return nil
	}
	return s.files.replace(s.place)
}
