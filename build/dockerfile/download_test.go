package dockerfile

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/content/registry"
)

// A server that sends nothing, or no more, does not hold up a build; and an error
// shows no password.
func TestFetchFromOthers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stops":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("some"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/silent":
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	client := &http.Client{Transport: registry.Options{Stall: 300 * time.Millisecond}.Patient()}
	for _, path := range []string{"/stops", "/silent", "/none"} {
		from := strings.Replace(server.URL, "http://", "http://user:hidden@", 1) + path
		_, err := fetch(t.Context(), client, &pb.SourceOp{Identifier: from}, t.TempDir())
		if err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
