// Package litestreamyml reads Litestream's configuration, litestream.yml, as
// Litestream v0.5.18 does, as far as it says where the replica of a database is
// and how to reach it.
//
// Keys that are not needed for that are ignored, right or wrong. What is needed
// and wrong is an error that names file, line and key, and shows no value that
// may be a secret. Within the package, it is a panic, from fail to Load or Replica.
package litestreamyml

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// maxFile bounds a file, in bytes, and maxText what it is with its variables
// expanded.
const (
	maxFile = 1 << 20
	maxText = 2 << 20
)

// ErrUnsupported means that a replica is in a kind of store that this build of
// ltxfs has no client for.
var ErrUnsupported = errors.New("not supported by this version of ltxfs")

// Config is a file of Litestream's configuration.
type Config struct {
	file    string
	raw     string
	literal func(line int) bool // the lines whose $ are left alone
	lookup  func(string) (string, bool)
	top     node // its settings hold for replicas that lack them
	dbs     []*database
}

// Replica is where a database is replicated to: Path or S3.
type Replica struct {
	// Path is the absolute path of a replica on disk.
	Path string

	// S3 is a replica in S3 as the file has it. The environment is for its
	// ApplyEnvironment, with the exception of NotFromEnv.
	S3 *config.Config

	// Literal is S3 with its access key as it stands in the file, where a $ in that was
	// taken for a variable's. It may have been meant for itself. nil is none.
	Literal *config.Config

	// Source is FILE:LINE of the database's entry.
	Source string
}

// NotFromEnv is a variable that Litestream passes over where its configuration names
// the replica: what its daemon wrote is not at that endpoint.
const NotFromEnv = "LITESTREAM_S3_ENDPOINT"

// Error is what is wrong with a file.
type Error struct {
	File string
	Line int    // from 1; 0 is the whole file
	Key  string // "" is none
	Err  error
}

func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place += ":" + strconv.Itoa(e.Line)
	}
	if e.Key != "" {
		place += ": " + e.Key
	}
	return place + ": " + strings.ReplaceAll(e.Err.Error(), "\n", " ") // a path may have any character
}

func (e *Error) Unwrap() error { return e.Err }

func fail(line int, key, format string, args ...any) {
	panic(&Error{Line: line, Key: key, Err: fmt.Errorf(format, args...)})
}

// must fails if err is an error.
func must(line int, key string, err error) {
	if err != nil {
		fail(line, key, "%w", err)
	}
}

// catch is deferred by what returns the error of fail.
func catch(file string, err *error) {
	switch e := recover().(type) {
	case nil:
	case *Error:
		e.File = file
		*err = e
	default:
		panic(e)
	}
}

// Load reads a file. $NAME and ${NAME} in it are replaced by what lookup finds,
// or else by nothing, before YAML sees them, unless expand is false. ~ is the home of
// the user, before the file's name as before the paths in it.
//
// Its errors are of type *Error, and wrap os.ErrNotExist and os.ErrPermission. What
// stands below replica or replicas is Replica's to check.
func Load(file string, lookup func(string) (string, bool), expand bool) (_ *Config, err error) {
	defer catch(file, &err)
	name, err := expandPath(file)
	must(0, "", err)
	raw, err := readFile(name, maxFile)
	must(0, "", err)
	return parseConfig(file, raw, lookup, func(int) bool { return !expand }), nil
}

func parseConfig(file, raw string, lookup func(string) (string, bool), literal func(line int) bool) *Config {
	top := parse(expandVariables(raw, lookup, literal))
	return &Config{file: file, raw: raw, literal: literal, lookup: lookup, top: top, dbs: readDatabases(top)}
}

// readFile reads a file that is no larger than it should be, and regular, so
// that it can't be waited for. Its error doesn't name the file.
func readFile(name string, most int64) (_ string, err error) {
	defer func() {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
	}()
	if fi, err := os.Stat(name); err != nil {
		return "", err
	} else if !fi.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if int64(len(data)) > most {
		return "", fmt.Errorf("larger than %d KiB, which it shouldn't be: is it the right file?", most>>10)
	}
	return string(data), err
}
