package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/service/state"
)

// askTimeout bounds a question to the process of a mount, which may ask its stores for an answer.
const askTimeout = 20 * time.Second

// maxReply is the most that a process tells at once, in bytes.
const maxReply = 64 << 20

// Control asks the process that serves a mount, and gives it orders.
type Control struct {
	Mountpoint string // absolute and without links
	watch      *state.Watch
	client     http.Client
}

// Connect finds the process of a mount. The Control is to be closed.
func Connect(mountpoint string) (*Control, error) {
	path, err := mounts.Resolve(mountpoint)
	if err != nil {
		return nil, exitcode.Errorf(exitcode.NotMounted, "%s: nothing is mounted there: %w: check the path", mountpoint, err)
	}
	table, err := mounts.Read()
	if err != nil {
		return nil, err
	}
	watch, err := findState(table.Top(path), path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exitcode.Errorf(exitcode.NotMounted, "%s: no ltxfs of this user serves a mount there: check the path and the user", path)
	case err != nil:
		return nil, err
	}
	c := &Control{Mountpoint: path, watch: watch}
	c.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return watch.Dial(ctx) }}
	c.client.Timeout = askTimeout
	return c, nil
}

// findState finds the state file of a mountpoint, by who owns what is mounted there, if
// anything is.
func findState(top *mounts.Mount, path string) (*state.Watch, error) {
	owner := uint32(os.Geteuid())
	if top != nil {
		if id, ok := mounts.UserID(top); ok {
			owner = id
		}
	}
	return state.Find(state.Of(owner), path)
}

// Close ends the connections.
func (c *Control) Close() {
	c.client.CloseIdleConnections()
	c.watch.Close()
}

// State is what the state file says, and whether the process lives.
func (c *Control) State() (st state.State, alive bool) { return c.watch.State, c.watch.Alive() }

// Log returns the last n bytes of the mount's log file, if it has one, which must be a file of
// the mount's user: root would read any for whoever has written the state file.
func (c *Control) Log(n int64) ([]byte, error) {
	path := c.watch.State.LogFile
	if path == "" {
		return nil, errors.New("the mount logs to standard error or to the journal: add what is there")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != c.watch.UID() {
		return nil, fmt.Errorf("%s is no file of the user who has mounted", path)
	}
	return io.ReadAll(io.NewSectionReader(f, max(st.Size-n, 0), n))
}

// Get asks for what has a path, such as /metrics. An answer of failure is returned with the
// error.
func (c *Control) Get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// SetLog changes what is logged: the least level, and whether each request of the kernel is, "on"
// or "off". What is "" stays.
func (c *Control) SetLog(ctx context.Context, level, access string) error {
	_, err := c.do(ctx, http.MethodPut, "/log", url.Values{"level": {level}, "access": {access}})
	return err
}

func (c *Control) do(ctx context.Context, method, path string, form url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://ltxfs"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := c.client.Do(req)
	switch {
	case err != nil && !c.watch.Alive():
		return nil, exitcode.Errorf(exitcode.NotMounted, "%s: the ltxfs that served it has ended", c.Mountpoint)
	case err != nil:
		return nil, fmt.Errorf("ask process %d, which serves %s: %w", c.watch.State.PID, c.Mountpoint, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReply))
	if err == nil && answer.StatusCode != http.StatusOK {
		code := exitcode.Failure
		if answer.StatusCode == http.StatusBadRequest {
			code = exitcode.Usage
		}
		err = exitcode.Errorf(code, "%s: %s", c.Mountpoint, strings.TrimSpace(string(body)))
	}
	return body, err
}
