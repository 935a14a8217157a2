package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/service/state"
)

// verifyTimeout bounds the look at files that earlier mounts left.
const verifyTimeout = 10 * time.Second

// reportLeftovers tells of files that earlier mounts left unpublished.
func reportLeftovers(w io.Writer, log *slog.Logger, left []staging.Entry, mountpoint string) {
	for _, e := range left {
		log.Warn("left unpublished by an earlier mount", "file", e.Name, "size", e.Size, "staged", e.Path, "modified", e.ModTime)
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	fmt.Fprintf(w, "ltxfs: earlier mounts left %s unpublished, not in the replica:\n", count(len(left)))
	for _, e := range left {
		fmt.Fprintf(w, "  %s (%d bytes), in %s\n", logging.Shown(e.Name), e.Size, logging.Shown(e.Path))
		name, err := publishedName(ctx, e)
		if err != nil {
			fmt.Fprintf(w, "    can't be published: %s\n", logging.Shown(err.Error()))
		} else {
			target := filepath.Join(mountpoint, name)
			fmt.Fprintf(w, "    to publish it: cp %s %s && rm %s\n", quote(e.Path), quote(target), quote(e.Path))
		}
		fmt.Fprintf(w, "    to discard it: rm %s\n", quote(e.Path))
	}
}

// publishedName is the name under which a staged file can be published, which
// its header tells.
func publishedName(ctx context.Context, e staging.Entry) (string, error) {
	f, err := os.Open(e.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	header, err := ltxfile.Verify(ctx, f, e.Size)
	if errors.Is(err, context.DeadlineExceeded) { // so large that only trying tells
		head := make([]byte, ltx.HeaderSize)
		if _, err = f.ReadAt(head, 0); err == nil {
			err = header.UnmarshalBinary(head)
		}
	}
	if err != nil {
		return "", err
	}
	return path.Join(path.Dir(e.Name), ltx.FormatFilename(header.MinTXID, header.MaxTXID)), nil
}

// unpublishedOf is what a state file says of staged files.
func unpublishedOf(entries []staging.Entry) []state.Unpublished {
	var left []state.Unpublished
	for _, e := range entries {
		u := state.Unpublished{Name: e.Name, Path: e.Path, Size: e.Size, Error: "it was never complete under the name of an LTX file"}
		if e.Err != nil {
			u.Error = e.Err.Error()
		}
		left = append(left, u)
	}
	return left
}

// reportUnpublished tells, at the end of a mount, which files are not in the
// replica.
func reportUnpublished(w io.Writer, log *slog.Logger, left []state.Unpublished, mountpoint string) {
	for _, u := range left {
		log.Error("left unpublished", "file", u.Name, "size", u.Size, "staged", u.Path, "error", u.Error)
	}
	fmt.Fprintf(w, "ltxfs: unmount %s: %s unpublished, not in the replica:\n", mountpoint, count(len(left)))
	for _, u := range left {
		fmt.Fprintf(w, "  %s (%d bytes): %s\n    kept in %s\n", logging.Shown(u.Name), u.Size, logging.Shown(u.Error), logging.Shown(u.Path))
	}
	fmt.Fprintln(w, "The next mount with --rw lists them again, and how to publish or discard them.")
}

func count(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

var plainWord = regexp.MustCompile(`^[a-zA-Z0-9/._+:@,-]*$`)

// quote makes a path one word of a shell. What isn't printable it quotes as bash,
// zsh and POSIX since 2024 read it.
func quote(s string) string {
	switch {
	case plainWord.MatchString(s):
		return s
	case logging.IsPrintable(s):
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	out := []byte("$'")
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ' || c > '~':
			out = fmt.Appendf(out, `\%03o`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '\''))
}
