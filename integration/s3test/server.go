package s3test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// Server is a server that listens on a port of its own. Its methods may be called
// by several goroutines, but for those that stop, start, pause and resume it.
type Server struct {
	Name      string // of its kind
	Endpoint  string // http://127.0.0.1:PORT
	AccessKey string // of the user who may do everything
	SecretKey string
	Region    string
	CAFile    string // certificates to trust, in PEM, if the endpoint is https

	kind    *Kind
	program string // its path
	dir     string // all that it keeps
	addr    string // of Endpoint
	shared  bool
	process *process
	admin   *s3.Client  // keeps no connections
	tls     *tls.Config // of clients, or nil
}

// stopTimeout is how long a server has to end on its own.
const stopTimeout = 10 * time.Second

// errInUse means that somebody else has the port.
var errInUse = errors.New("its port is in use")

// launch starts a server on a free port. Between the choice of the port and the
// server's use of it, another may take it: then it tries the next.
func (k *Kind) launch(program, dir string) (*Server, error) {
	for deadline := time.Now().Add(ltxfstest.Timeout); ; {
		addr, err := freeAddr()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", k.Name, err)
		}
		s := &Server{
			Name:     k.Name,
			Endpoint: "http://" + addr,
			// Nobody else's server lets these in.
			AccessKey: "test" + rand.Text(),
			SecretKey: rand.Text(),
			Region:    "us-east-1",
			kind:      k,
			program:   program,
			dir:       dir,
			addr:      addr,
		}
		s.admin = newClient(s.Endpoint, s.Region, s.AccessKey, s.SecretKey, newTransport(false))
		switch err := s.run(); {
		case err == nil:
			return s, nil
		case !errors.Is(err, errInUse) || time.Now().After(deadline):
			return nil, err
		}
	}
}

// run starts the server's process and returns once it answers.
func (s *Server) run() error {
	cmd, err := s.kind.command(s, s.program)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	if s.process, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	for deadline := time.Now().Add(ltxfstest.Timeout); ; {
		err := s.answers()
		switch {
		case err == nil:
			return nil
		case s.process.endsWithin(20*time.Millisecond) && strings.Contains(s.process.output(), s.kind.inUse):
			return fmt.Errorf("start %s on %s: %w", s.Name, s.addr, errInUse)
		case s.process.ended():
			return fmt.Errorf("%s ended before it answered:\n%s", s.Name, s.process.output())
		case time.Now().After(deadline):
			return errors.Join(fmt.Errorf("%s doesn't answer after %v (%w):\n%s",
				s.Name, ltxfstest.Timeout, err, s.process.output()), s.process.stop(stopTimeout))
		}
	}
}

// answers asks the server for something that only it gives to its own user.
func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := s.admin.ListBuckets(ctx, &s3.ListBucketsInput{})
	return err
}

// end ends the server, if it runs, and makes sure that its port is closed.
func (s *Server) end() error {
	if err := s.process.stop(stopTimeout); err != nil {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	if conn, err := net.DialTimeout("tcp", s.addr, time.Second); err == nil {
		conn.Close()
		return fmt.Errorf("%s has ended, and %s still takes connections", s.Name, s.addr)
	}
	return nil
}

// Stop ends the server as an operator does, with SIGTERM. Its port is closed
// then, and its data stays.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.requireOwn(t)
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	if !s.process.endsWithin(stopTimeout) {
		t.Fatalf("%s still runs after SIGKILL", s.Name)
	}
}

// Start starts the server again, on the same port and with the same data, after
// Stop or Kill.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.requireOwn(t)
	if !s.process.ended() {
		t.Fatalf("%s runs already", s.Name)
	}
	deadline := time.Now().Add(ltxfstest.Timeout)
	err := s.run()
	for errors.Is(err, errInUse) && time.Now().Before(deadline) {
		err = s.run()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Pause stops the server's process where it is, so that it still takes
// connections, but answers nothing. Resume goes on.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	ltxfstest.Eventually(t, ltxfstest.Timeout, s.Name+" is paused", func() bool {
		// See proc_pid_stat(5): the state follows the name in parentheses.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(stat), ") T ")
	})
}

// Resume ends a Pause.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGCONT)
}

// PID is the server's process, or that which it had before it ended.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }

// Log is the last that the server has written.
func (s *Server) Log() string { return s.process.output() }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	s.requireOwn(t)
	if err := s.process.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to %s: %v", sig, s.Name, err)
	}
}

func (s *Server) requireOwn(t testing.TB) {
	t.Helper()
	if s.shared {
		t.Fatalf("%s is shared with other tests: start one of your own", s.Name)
	}
}

func (s *Server) logIfFailed(t testing.TB) {
	t.Helper()
	if t.Failed() {
		t.Logf("the last output of %s on %s:\n%s", s.Name, s.addr, s.process.output())
	}
}
