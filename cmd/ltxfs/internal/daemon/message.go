package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// messageEnv tells a process which descriptor its message is on.
const messageEnv = "LTXFS_MESSAGE_FD"

// Env are the environment variables by which this package starts a process.
var Env = []string{readyEnv, messageEnv}

// maxMessage is more than the kernel lets an argument be long.
const maxMessage = 1 << 20

// Message is what the process that started this one handed to it by
// Options.Message, or "" if it handed it nothing. It can be asked for once.
func Message() (string, error) {
	fd, err := strconv.Atoi(os.Getenv(messageEnv))
	os.Unsetenv(messageEnv)
	if err != nil || fd < 3 {
		return "", nil
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "message")
	data, err := io.ReadAll(io.LimitReader(f, maxMessage))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read what the starting process handed on: %w", err)
	}
	return string(data), nil
}

// sendMessage returns the end of a pipe that a process can read text from. The
// caller closes it once the process has it.
func sendMessage(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		// A process that ends before it has read all needs no message.
		_, _ = io.WriteString(w, text)
		_ = w.Close()
	}()
	return r, nil
}
