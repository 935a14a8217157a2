package service

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/internal/telemetry"
)

// listen takes the addresses at which the mount is going to tell of itself, so that one that is
// taken is told of before the mount.
func (s *server) listen() (err error) {
	if s.control, err = s.state.Listen(); err != nil || s.cfg.HTTP == "" {
		return err
	}
	if s.http, err = telemetry.Listen(s.cfg.HTTP); err != nil {
		return err
	}
	s.log.Info("metrics can be asked for", "address", "http://"+s.http.Addr().String()+"/metrics")
	return nil
}

// tell begins to tell of a mount.
func (s *server) tell(m *fs.Mounted) {
	s.telemetry = telemetry.New(telemetry.Options{
		Version:    s.version,
		Collectors: append(s.opener.Collectors(), m),
		Healthy:    m.Healthy,
		Ready:      s.ready.Load,
		Settings:   func(w io.Writer) error { return s.printSettings(w, m.LogsAccess()) },
		SetLevel:   s.SetLevel,
		LogAccess:  m.LogAccess,
		Logger:     s.log,
	})
	s.telemetry.ServeControl(s.control)
	if s.http != nil {
		s.telemetry.Serve(s.http)
	}
}

// printSettings prints what holds, with what has changed since the start.
func (s *server) printSettings(w io.Writer, access bool) error {
	err := s.cfg.Print(w)
	_, werr := fmt.Fprintf(w, "\nwhat is logged now: level %s, access %t\n", strings.ToLower(s.level.Level().String()), access)
	return errors.Join(err, werr)
}

// hush ends that. Nobody waits for what fails in it.
func (s *server) hush() {
	if s.telemetry != nil {
		_ = s.telemetry.Close()
		return
	}
	for _, l := range []net.Listener{s.control, s.http} {
		if l != nil {
			_ = l.Close()
		}
	}
}
