package file

import "golang.org/x/sys/unix"

// setUser sets the file system's user of the thread.
func setUser(uid int) error { return unix.Setfsuid(uid) }
