package service

import (
	"net"

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
		Settings:   s.cfg.Print,
		SetLevel:   s.SetLevel,
		LogAccess:  m.LogAccess,
		Logger:     s.log,
	})
	s.telemetry.ServeControl(s.control)
	if s.http != nil {
		s.telemetry.Serve(s.http)
	}
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
