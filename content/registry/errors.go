package registry

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/log"
	"github.com/distribution/reference"

	"github.com/veneer-build/veneer/internal/fault"
)

// statusOf returns the HTTP status of the response that err is about, or 0.
func statusOf(err error) int {
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		return status.StatusCode
	}
	var pointer *remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &pointer) {
		return pointer.StatusCode
	}
	return 0
}

// denied reports whether the registry refused because of a missing login or
// permission.
func denied(err error) bool {
	status := statusOf(err)
	return errors.Is(err, docker.ErrInvalidAuthorization) || status == http.StatusUnauthorized || status == http.StatusForbidden
}

// explain says in plain words what an error means, marks what a caller may act upon,
// and removes secrets, see [redact]. It says that verb was attempted on the name;
// without verb its caller does.
func explain(verb, name string, err error) error {
	what := ""
	if verb != "" {
		what = verb + " " + name + ": "
	}
	host := ""
	if named, parseErr := reference.ParseNormalizedNamed(name); parseErr == nil {
		host = reference.Domain(named)
	}
	err = redact(err)
	switch kind := kindOf(err); {
	case kind != nil:
		return &fault.Error{Kind: kind, Ref: host, Err: fmt.Errorf("%s%w: %w", what, kind, err)}
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%sthe registry's certificate is of an authority that is not known here (put the authority's into /etc/containerd/certs.d/%s/ca.crt): %w", what, host, err)
	case err.Error() == io.EOF.Error(), strings.HasSuffix(err.Error(), ": "+io.EOF.Error()):
		// gRPC gives no other error if a stream broke before a write.
		return fmt.Errorf("%sa connection broke, to containerd or to the registry; try again: %w", what, err)
	}
	return fmt.Errorf("%s%w", what, err)
}

// kindOf returns what a caller may act upon in an error of a registry; nil: nothing.
func kindOf(err error) error {
	switch {
	case errors.Is(err, ErrElsewhere): // whatever another host than the registry says
		return ErrElsewhere
	case denied(err):
		return ErrDenied
	case statusOf(err) == http.StatusTooManyRequests:
		return ErrRateLimit
	case errors.Is(err, ErrOtherContent):
		return ErrOtherContent
	case speaksHTTP(err):
		return ErrPlainHTTP
	}
	return nil
}

// speaksHTTP reports whether a host answered HTTPS in plain text. net/http has no
// other mark of it.
func speaksHTTP(err error) bool {
	return strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// redacted is an error without secrets in its text.
type redacted struct {
	text string
	err  error
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.err }

// redact removes queries and passwords from the addresses in an error's text. A
// query may contain a signature that gives access to the address.
func redact(err error) error {
	text := err.Error()
	if clean := redactText(text); clean != text {
		return &redacted{text: clean, err: err}
	}
	return err
}

var (
	addressQuery    = regexp.MustCompile(`(https?://[^\s"'?]+)\?[^\s"']+`)
	addressPassword = regexp.MustCompile(`(https?://)[^\s"'/@]+@`)
)

func redactText(s string) string {
	return addressPassword.ReplaceAllString(addressQuery.ReplaceAllString(s, "$1"), "$1")
}

// RedactLogs removes secrets from the log of containerd's libraries, as Push and
// Pull do for their errors. It affects the whole process. Call it once.
func RedactLogs() { log.L.Logger.AddHook(logRedacter{}) }

type logRedacter struct{}

// Levels implements logrus.Hook.
func (logRedacter) Levels() []log.Level {
	return []log.Level{log.PanicLevel, log.FatalLevel, log.ErrorLevel, log.WarnLevel, log.InfoLevel, log.DebugLevel, log.TraceLevel}
}

// Fire implements logrus.Hook. The entry is the hook's own copy.
func (logRedacter) Fire(e *log.Entry) error {
	e.Message = redactText(e.Message)
	for key, value := range e.Data {
		switch v := value.(type) {
		case string:
			e.Data[key] = redactText(v)
		case error:
			e.Data[key] = redact(v)
		}
		// Anybody who knows an upload's address may write to it.
		if key == "response.header.location" || key == "body" {
			e.Data[key] = "REDACTED"
		}
	}
	return nil
}
