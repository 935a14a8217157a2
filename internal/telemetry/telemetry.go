// Package telemetry is what a mount tells of itself over HTTP: to monitoring by TCP, and by a
// socket of its own to the commands of ltxfs, which can also change what is logged.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 5 * time.Second

	// maxConnections is how many connections are taken by TCP at a time: each is a descriptor,
	// which the mount needs as well.
	maxConnections = 16

	// maxScrapes is how many may ask for the metrics at a time.
	maxScrapes = 4

	// answerTimeout leaves time for a profile of a minute.
	answerTimeout = 2 * time.Minute
)

// Options are what there is to tell.
type Options struct {
	Version    string
	Collectors []prometheus.Collector
	Healthy    func() error // says what is wrong
	Ready      func() bool  // the mount is there, and doesn't end
	Settings   func(w io.Writer) error
	SetLevel   func(level string) error // of the log
	LogAccess  func(on bool)
	Logger     *slog.Logger
}

// Server answers until it is closed.
type Server struct {
	open, control *http.Server
	log           *slog.Logger
}

// New makes a server that listens nowhere yet.
func New(opts Options) *Server {
	s := &Server{log: opts.Logger}
	open := opts.handler()
	s.open, s.control = newServer(open, opts.Logger), newServer(opts.controlHandler(open), opts.Logger)
	return s
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // mostly of clients that hang up
	}
}

// Serve answers whoever connects to l.
func (s *Server) Serve(l net.Listener) { s.serve(s.open, l) }

// ServeControl answers on l, and takes orders.
func (s *Server) ServeControl(l net.Listener) { s.serve(s.control, l) }

func (s *Server) serve(srv *http.Server, l net.Listener) {
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("nobody can ask the mount for metrics any more", "address", l.Addr().String(), "error", err)
		}
	}()
}

// Close ends all connections.
func (s *Server) Close() error { return errors.Join(s.open.Close(), s.control.Close()) }

// handler is what anybody may ask who reaches it. Of net/http/pprof the command line is left
// out, which may have a secret, and traces, which may be asked for for ever.
func (o *Options) handler() http.Handler {
	mux := http.NewServeMux()
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "ltxfs_build_info", Help: "1, for the version that runs.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()}})
	build.Set(1)
	reg.MustRegister(append(o.Collectors, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))...)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, o.Healthy()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		var err error
		if !o.Ready() {
			err = errors.New("the mount isn't there, or ends")
		}
		answer(w, err)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// controlHandler is the open handler with what only the mount's user may ask.
func (o *Options) controlHandler(open http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", open)
	mux.HandleFunc("GET /settings", func(w http.ResponseWriter, _ *http.Request) { _ = o.Settings(w) }) // fails with the connection
	mux.HandleFunc("PUT /log", func(w http.ResponseWriter, r *http.Request) {
		if err := o.setLog(r.FormValue("level"), r.FormValue("access")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	return mux
}

// setLog changes what is logged, but for what is "".
func (o *Options) setLog(level, access string) error {
	if access != "" && access != "on" && access != "off" {
		return fmt.Errorf("unknown word %q: access must be on or off", access)
	}
	hidden := level == "warn" || level == "error" || level == "" && !o.Logger.Enabled(context.Background(), slog.LevelInfo)
	if access == "on" && hidden {
		return errors.New("requests are logged at the level info: give --level=info as well")
	}
	var changed []any
	if level != "" {
		if err := o.SetLevel(level); err != nil {
			return err
		}
		changed = append(changed, "log_level", level)
	}
	if access != "" {
		o.LogAccess(access == "on")
		changed = append(changed, "access", access)
	}
	o.Logger.Info("what is logged has changed", changed...)
	return nil
}

// Listen listens for monitoring on an address, host:port. Without a host it is this machine's
// loopback.
func Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w: give another address", address, err)
	}
	return netutil.LimitListener(l, maxConnections), nil
}
