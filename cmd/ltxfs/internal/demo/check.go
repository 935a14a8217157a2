package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// check compares the whole mount with the sample.
func (t *Tour) check() error {
	files, err := Files()
	if err != nil {
		return err
	}
	var want, got []string
	for _, f := range files {
		want = append(want, f.InMount)
		if err := checkFile(f, filepath.Join(t.Mountpoint, filepath.FromSlash(f.InMount))); err != nil {
			return err
		}
	}
	err = filepath.WalkDir(t.Mountpoint, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(t.Mountpoint, name)
		got = append(got, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return fmt.Errorf("walk the mount: %w", err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("the mount holds %s, and should hold %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	if err := t.checkReadOnly(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Out, "Checked: the content, size and time of all %d files are those of the replica, and nothing can be written.\n", len(files))
	return err
}

func checkFile(want File, name string) error {
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

// checkReadOnly makes sure that the mount refuses to be written to.
func (t *Tour) checkReadOnly() error {
	name := filepath.Join(t.Mountpoint, "ltx", "0000", "x.tmp")
	err := os.WriteFile(name, nil, 0o644)
	if !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("write %s on a read-only mount: got the error %v, and should get %w", name, err, unix.EROFS)
	}
	return nil
}
