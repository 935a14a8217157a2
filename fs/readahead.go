package fs

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/ltxfs/ltxfs/internal/mounts"
)

// readAheadKB is how far the kernel reads ahead, in KiB. It reads as much around each page
// fault of a program that maps a file.
const readAheadKB = 256

// setReadAhead lets the kernel read further ahead than the 128 KiB that a FUSE
// server can ask for itself. It is root's to set; others do without. The mount's
// device number comes from the table of mounts: ltxfs must not touch its own
// mount.
func setReadAhead(mountpoint string, log *slog.Logger) {
	device, err := mounts.Device(mountpoint)
	if err == nil {
		err = os.WriteFile("/sys/class/bdi/"+device+"/read_ahead_kb", fmt.Appendf(nil, "%d\n", readAheadKB), 0)
	}
	if err != nil {
		log.Info("the kernel reads no more than 128 KiB ahead: only root may raise that", "error", err)
	}
}
