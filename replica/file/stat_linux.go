package file

import "golang.org/x/sys/unix"

type (
	status    = unix.Statx_t
	timestamp = unix.StatxTimestamp
)

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// statPath is stat of a path, which may be a link's.
func statPath(path string) (attributes, error) {
	f, err := open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return attributes{}, err
	}
	defer f.Close()
	return stat(f)
}

func statFD(fd int) (attributes, error) { return statx(fd, "", unix.AT_EMPTY_PATH) }

func statAt(dir int, path string) (attributes, error) {
	return statx(dir, path, unix.AT_SYMLINK_NOFOLLOW)
}

func statx(fd int, path string, flags int) (st attributes, err error) {
	// Without retry, which would put each on the heap.
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Statx(fd, path, flags, statMask, &st.status)
	}
	return st, err
}

func isFUSE(disk *unix.Statfs_t) bool { return disk.Type == unix.FUSE_SUPER_MAGIC }

// blockUnit is in what blocks are counted: in fragments where the file system has them.
func blockUnit(disk *unix.Statfs_t) int64 {
	if disk.Frsize != 0 {
		return int64(disk.Frsize)
	}
	return int64(disk.Bsize)
}
