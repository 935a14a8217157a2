//go:build !linux

package credentials

import "golang.org/x/sys/unix"

const getTermios = unix.TIOCGETA
