//go:build !linux

package file

import "errors"

// setUser fails: elsewhere, such a test needs a user who isn't root.
func setUser(int) error { return errors.ErrUnsupported }
