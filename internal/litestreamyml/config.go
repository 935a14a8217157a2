// Package litestreamyml reads Litestream's configuration, litestream.yml, as
// Litestream v0.5.18 does, as far as it says where the replica of a database is
// and how to reach it.
//
// Keys that are not needed for that are ignored, right or wrong. What is needed
// and wrong is an error that names file, line and key, and shows no value that
// may be a secret.
package litestreamyml

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ltxfs/ltxfs/replica/s3"
)

// maxFile bounds a file, in bytes, and maxText what it is with its variables
// expanded.
const (
	maxFile = 1 << 20
	maxText = 2 << 20
)

// Config is a file of Litestream's configuration.
type Config struct {
	file     string
	lookup   func(string) (string, bool)
	defaults *node // the top level: its settings hold for replicas that lack them
	dbs      []*database
}

// Replica is where a database is replicated to.
type Replica struct {
	// Type is "file" or "s3".
	Type string

	// Path is the absolute path of a file replica.
	Path string

	// S3 is an S3 replica as the file has it. The environment is for its
	// ApplyEnvironment, which keeps to Litestream's order: the file's keys
	// beat the environment's, and no endpoint comes from Litestream's.
	S3 s3.Config

	// Source is FILE:LINE of the database's entry.
	Source string
}

// Error is what is wrong with a file.
type Error struct {
	File string
	Line int    // from 1; 0 is the whole file
	Key  string // "" is none
	Err  error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// wrong is an Error of a file that is not yet known.
func wrong(line int, key, format string, args ...any) error {
	return &Error{Line: line, Key: key, Err: fmt.Errorf(format, args...)}
}

// in names the file in an error.
func in(file string, err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		e.File = file
		return e
	}
	return &Error{File: file, Err: err}
}

// Load reads a file. $NAME and ${NAME} in it are replaced by what lookup finds,
// or else by nothing, before YAML sees them; a nil lookup is os.LookupEnv. ~ is
// the home of the user, before the file's name as before the paths in it.
//
// Its errors are of type *Error, and wrap os.ErrNotExist and os.ErrPermission.
// Load checks all entries but for what only Replica looks at: URLs, key files,
// and whether there is a client for the type.
func Load(file string, lookup func(string) (string, bool)) (*Config, error) {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	c := &Config{file: file, lookup: lookup}
	if err := c.load(); err != nil {
		return nil, in(file, err)
	}
	return c, nil
}

func (c *Config) load() error {
	name, err := expandPath(c.file)
	if err != nil {
		return err
	}
	raw, err := readFile(name, maxFile)
	if err != nil {
		return err
	}
	text, lines, err := expandVariables(raw, c.lookup)
	if err != nil {
		return err
	}
	if c.defaults, err = parse(text, lines, parseTime); err != nil {
		return err
	}
	if c.dbs, err = readDatabases(c.defaults); err != nil {
		return err
	}
	for _, db := range c.dbs {
		for _, r := range db.replicas {
			if t, err := r.typeOf(); err != nil || t.name != typeS3 {
				continue // Replica tells
			}
			if _, _, err := r.settings(c.defaults); err != nil {
				return err
			}
		}
	}
	return nil
}

// readFile reads a file that is no larger than it should be, and regular, so
// that it can't be waited for.
func readFile(name string, most int64) (_ string, err error) {
	fi, err := os.Stat(name)
	if err != nil {
		return "", bare(err)
	}
	if !fi.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return "", bare(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", bare(err)
	}
	if int64(len(data)) > most {
		return "", fmt.Errorf("larger than %d KiB, which it shouldn't be: is it the right file?", most>>10)
	}
	return string(data), nil
}

// bare is an error without the file's name, which Error has.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
