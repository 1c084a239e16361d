package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogin logs in to a registry and out again, by the command line.
func TestLogin(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "me" || secret != "s3cret " {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	login := func(password string, args ...string) (int, string, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"login", "--plain-http"}, args...), streams{in: strings.NewReader(password), out: &out, err: &errOut})
		return code, out.String(), errOut.String()
	}
	for _, c := range []struct {
		password string
		args     []string
		code     int
		want     string
	}{
		{"", []string{host}, exitUsage, "--password-stdin"},
		{"s3cret", []string{"--password-stdin", host}, exitUsage, "--username"},
		{"", []string{"-u", "me", "--password-stdin", host}, exitUsage, "want a user name and a password"},
		{"wrong\n", []string{"-u", "me", "--password-stdin", host}, exitError, "does not take this user name and password"},
		{"", []string{"-u", "me", "-p", "x", "--password-stdin", host}, exitUsage, "do not go together"},
		{"s3cret \n", []string{"-u", "me", "--password-stdin", host}, exitOK, "logged in to " + host},
	} {
		code, out, errOut := login(c.password, c.args...)
		if code != c.code || !strings.Contains(out+errOut, c.want) || strings.Contains(out+errOut, "s3cret") {
			t.Errorf("%q: %d, %q, %q", c.args, code, out, errOut)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "config.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if out, _ := ok(t, "logout", host); out != "logged out of "+host+"\n" {
		t.Errorf("%q", out)
	}
	if code, _, errOut := veneerRun(t.Context(), "logout", host); code != exitError || !strings.Contains(errOut, "no credentials") {
		t.Errorf("twice: %d, %s", code, errOut)
	}
}

// TestLoginPlainHTTP: of a registry that is elsewhere HTTP is not tried by itself. What
// to do is said.
func TestLoginPlainHTTP(t *testing.T) {
	isolate(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	defer srv.Close()
	go func() { _ = srv.Serve(l) }() // It ends with the server.
	address := ""
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			address = ip.IP.String()
		}
	}
	if address == "" {
		t.Skip("this machine has no address but that of localhost")
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	host := net.JoinHostPort(address, port)
	for _, args := range [][]string{
		{"login", "-u", "me", "-p", "x", host}, {"pull", host + "/app:1"}, {"inspect", "docker://" + host + "/app:1"}, {"verify", "docker://" + host + "/app:1"},
	} {
		code, out, errOut := veneerRun(t.Context(), append(args, "--progress", "quiet")...)
		const advice = "speaks plain HTTP"
		if code != exitError || out != "" || !strings.Contains(errOut, advice) || !strings.Contains(errOut, "--plain-http") || !strings.Contains(errOut, `"http://`+host+`"`) {
			t.Errorf("%q: %d, %q, %q", args, code, out, errOut)
		}
	}
}
