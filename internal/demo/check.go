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

// check compares the whole mount with the sample.
func (t *tour) check() error {
	want := map[string]sampleFile{}
	for _, f := range sampleFiles() {
		want[f.InMount] = f
	}
	n := len(want)
	err := filepath.WalkDir(t.Mountpoint, func(name string, d fs.DirEntry, err error) error {
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
	name := filepath.Join(t.Mountpoint, "ltx", "0000", "x.tmp")
	if err := os.WriteFile(name, nil, 0o644); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("write %s on a read-only mount: got the error %v, and should get %w", name, err, unix.EROFS)
	}
	t.printf("Checked: the content, size and time of all %d files are those of the replica, and nothing can be written.\n", n)
	return t.err
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
