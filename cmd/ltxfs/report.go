package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
	"github.com/ltxfs/ltxfs/fs/staging"
)

// reportLeftovers tells of files that earlier mounts left unpublished.
func reportLeftovers(w io.Writer, log *slog.Logger, left []staging.Entry, mountpoint string) {
	fmt.Fprintf(w, "ltxfs: earlier mounts left %s unpublished, not in the replica:\n", count(len(left)))
	for _, e := range left {
		log.Warn("left unpublished by an earlier mount", "file", e.Name, "size", e.Size, "staged", e.Path, "modified", e.ModTime)
		fmt.Fprintf(w, "  %s (%d bytes), in %s\n", e.Name, e.Size, e.Path)
		fmt.Fprintf(w, "    to publish it: %s\n    to discard it: rm %s\n", howToPublish(e, mountpoint), quote(e.Path))
	}
}

// howToPublish is the command that publishes a file that was left.
func howToPublish(e staging.Entry, mountpoint string) string {
	name, ok := publishedName(e)
	if !ok {
		return "not possible, as it is not a complete LTX file"
	}
	return fmt.Sprintf("cp %s %s && rm %s", quote(e.Path), quote(filepath.Join(mountpoint, filepath.FromSlash(name))), quote(e.Path))
}

// publishedName is the name under which a staged file can be published: its
// own if it is one of an LTX file, else the one that its header tells.
func publishedName(e staging.Entry) (string, bool) {
	f, err := os.Open(e.Path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	head := make([]byte, ltx.HeaderSize)
	if _, err := io.ReadFull(f, head); err != nil {
		return "", false
	}
	var header ltx.Header
	if header.UnmarshalBinary(head) != nil || header.Validate() != nil {
		return "", false
	}
	return path.Join(path.Dir(e.Name), ltx.FormatFilename(header.MinTXID, header.MaxTXID)), true
}

// unpublishedOf is what a state file says of staged files.
func unpublishedOf(entries []staging.Entry) []state.Unpublished {
	var left []state.Unpublished
	for _, e := range entries {
		u := state.Unpublished{Name: e.Name, Path: e.Path, Size: e.Size}
		if e.Err != nil {
			u.Error = e.Err.Error()
		}
		left = append(left, u)
	}
	return left
}

// reportUnpublished tells, at the end of a mount, which files are not in the
// replica. log may be nil.
func reportUnpublished(w io.Writer, log *slog.Logger, left []state.Unpublished, mountpoint string) {
	fmt.Fprintf(w, "ltxfs: unmount %s: %s unpublished, not in the replica:\n", mountpoint, count(len(left)))
	for _, u := range left {
		why := u.Error
		if why == "" {
			why = "it was never complete under the name of an LTX file"
		}
		if log != nil {
			log.Error("left unpublished", "file", u.Name, "size", u.Size, "staged", u.Path, "error", why)
		}
		fmt.Fprintf(w, "  %s (%d bytes): %s\n    kept in %s\n", u.Name, u.Size, why, u.Path)
	}
	fmt.Fprintln(w, "The next mount with --rw lists them again, and how to publish or discard them.")
}

func count(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// quote makes a path one word of a shell.
func quote(s string) string {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '/' || r == '.' || r == '_' || r == '-' || r == '+' || r == ':' || r == '@' || r == ',':
		default:
			return shellQuoted(s)
		}
	}
	return s
}

func shellQuoted(s string) string {
	out := []byte{'\''}
	for i := range len(s) {
		if s[i] == '\'' {
			out = append(out, `'\''`...)
			continue
		}
		out = append(out, s[i])
	}
	return string(append(out, '\''))
}
