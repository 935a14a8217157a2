// Package demo shows ltxfs on a small replica that comes with the program.
package demo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"
)

// sample is a replica of a small database of orders, in Litestream's layout for
// files: a snapshot and what came after it, at three levels.
//
//go:embed sample
var sample embed.FS

// sampleFile is a file of the sample.
type sampleFile struct {
	Path    string // in the replica, such as ltx/9/0000000000000001-0000000000000009.ltx
	InMount string // in a mount of it, such as ltx/0009/0000000000000001-0000000000000009.ltx
	Content []byte
	ModTime time.Time // the timestamp in the header
}

// sampleFiles are the files of the sample, by path.
func sampleFiles() []sampleFile {
	var files []sampleFile
	err := fs.WalkDir(sample, "sample", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := sample.ReadFile(name)
		if err != nil {
			return err
		}
		var header ltx.Header
		if err := header.UnmarshalBinary(content); err != nil {
			return fmt.Errorf("sample file %s: %w", name, err)
		}
		level := path.Base(path.Dir(name)) // one digit
		files = append(files, sampleFile{
			Path:    path.Join("ltx", level, path.Base(name)),
			InMount: path.Join("ltx", "000"+level, path.Base(name)),
			Content: content,
			ModTime: time.UnixMilli(header.Timestamp).UTC(),
		})
		return nil
	})
	if err != nil {
		panic(err) // what is built in isn't what a test has seen
	}
	return files
}

// extract writes the sample to a directory, which it makes, with the times that
// Litestream gives the files.
func extract(dir string) error {
	for _, f := range sampleFiles() {
		name := filepath.Join(dir, f.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, f.Content, 0o644),
			os.Chtimes(name, f.ModTime, f.ModTime)); err != nil {
			return fmt.Errorf("write the sample replica: %w", err)
		}
	}
	return nil
}
