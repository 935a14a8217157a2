package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// check compares all LTX files of the mount with the sample, and reads all states.
func (t *tour) check() error {
	want := map[string]sampleFile{}
	for _, f := range sampleFiles() {
		want[f.InMount] = f
	}
	n := len(want)
	err := filepath.WalkDir(filepath.Join(t.Mountpoint, "ltx"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(t.Mountpoint, name)
		if err != nil {
			return err
		}
		f, ok := want[rel]
		if !ok {
			return fmt.Errorf("%s: it is not in the replica", name)
		}
		delete(want, rel)
		return checkFile(f, name)
	})
	if err != nil {
		return err
	}
	for name := range want {
		return fmt.Errorf("%s: no such file in the mount", name)
	}
	states, err := t.checkStates()
	if err != nil {
		return err
	}
	name := filepath.Join(t.Mountpoint, "ltx", "0000", "x.tmp")
	if err := os.WriteFile(name, nil, 0o644); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("write %s on a read-only mount: got the error %v, and should get %w", name, err, unix.EROFS)
	}
	t.printf("Checked: the content, size and time of all %d files are those of the replica, all %d states can be read, and nothing can be written.\n", n, states)
	return t.err
}

// checkStates reads all states, and returns how many there are.
func (t *tour) checkStates() (int, error) {
	names, err := filepath.Glob(filepath.Join(t.Mountpoint, "db", "at", "*.db"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(content, []byte("SQLite format 3\x00")) {
			return 0, fmt.Errorf("%s: it is no SQLite database", name)
		}
	}
	if want := len(sampleFiles()); len(names) != want {
		return 0, fmt.Errorf("%s: %d states, and there should be %d", filepath.Join(t.Mountpoint, "db", "at"), len(names), want)
	}
	return len(names), nil
}

func checkFile(want sampleFile, name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() != int64(len(want.Content)) {
		return fmt.Errorf("%s: has %d bytes, and should have %d", name, info.Size(), len(want.Content))
	}
	if !info.ModTime().Equal(want.ModTime) {
		return fmt.Errorf("%s: has the time %s, and should have %s", name, info.ModTime().UTC(), want.ModTime)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Equal(content, want.Content) {
		return fmt.Errorf("%s: has other content than the replica", name)
	}
	return nil
}
