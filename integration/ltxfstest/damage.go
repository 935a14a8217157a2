package ltxfstest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica/storetest"
)

// WriteDamaged writes an LTX file, damages one byte of it in the staging directory once the
// daemon has read all pages beside the writer, and closes it. It returns the bytes that are
// staged, and the error of close.
func (m *Mounted) WriteDamaged(t testing.TB, p *Process, path string, data []byte, at int) (staged []byte, err error) {
	t.Helper()
	before := m.Read(t)
	f, err := p.Create(path)
	if err == nil {
		err = f.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	// All comes in the kernel's requests, and then what is verified; the page index may
	// be read late.
	for until := time.Now().Add(Timeout); m.Read(t)-before <= int64(len(data)+storetest.LastPage(data)); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("nothing of %s is read beside its writer", path)
		}
	}
	staged = bytes.Clone(data)
	staged[at] ^= 1
	damaged := 0
	err = filepath.WalkDir(m.Staging, func(found string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(found) != filepath.Base(path) {
			return err
		}
		damaged++
		k, err := os.OpenFile(found, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer k.Close()
		_, err = k.WriteAt(staged[at:at+1], int64(at))
		return err
	})
	if err != nil || damaged != 1 {
		t.Fatalf("%d files were damaged: %v", damaged, err)
	}
	return staged, f.Close()
}
