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
	"strconv"
	"time"

	"github.com/superfly/ltx"
)

// sample is a replica of a small database of orders, in Litestream's layout for
// files: a snapshot and what came after it, at three levels.
//
//go:embed sample
var sample embed.FS

// File is a file of the sample.
type File struct {
	Path    string // in the replica, such as ltx/9/0000000000000001-0000000000000009.ltx
	InMount string // in a mount of it, such as ltx/0009/0000000000000001-0000000000000009.ltx
	Content []byte
	ModTime time.Time // the timestamp in the header
}

// Files are the files of the sample, by path.
func Files() ([]File, error) {
	var files []File
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
		level, err := strconv.Atoi(path.Base(path.Dir(name)))
		if err != nil {
			return fmt.Errorf("sample file %s: %w", name, err)
		}
		files = append(files, File{
			Path:    path.Join("ltx", strconv.Itoa(level), path.Base(name)),
			InMount: path.Join("ltx", fmt.Sprintf("%04d", level), path.Base(name)),
			Content: content,
			ModTime: time.UnixMilli(header.Timestamp).UTC(),
		})
		return nil
	})
	return files, err
}

// Extract writes the sample to a directory, which it makes, with the times that
// Litestream gives the files.
func Extract(dir string) error {
	files, err := Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, f.Content, 0o644),
			os.Chtimes(name, f.ModTime, f.ModTime)); err != nil {
			return fmt.Errorf("write the sample replica: %w", err)
		}
	}
	return nil
}
