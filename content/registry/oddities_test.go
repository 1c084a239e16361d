package registry_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// oddity is one thing that a registry does unlike the specification, or as few
// do, and what comes of it. docs/registries.md has a row for each.
type oddity struct {
	wrap wrap
	// pull and push are parts of the errors; "" is success, "-" is not tried.
	pull, push string
	login      login
	// mount: the push has all blobs to mount from another repository.
	mount bool
	// mirror: the registry is the mirror of one without oddities, from which
	// what the mirror does not serve is to come.
	mirror bool
	// refers is set of those that are about artifacts, see [referring].
	refers *refers
	// check looks at the requests, after a pull and after a push.
	check func(t *testing.T, o *odd)
}

// login is whether a registry is asked with credentials.
type login int

const (
	noLogin login = iota
	withLogin
	eitherWay // once each
)

// otherContent is what a pull says of a registry that sends something else than it was asked for.
const otherContent = "other content than it was asked for"

// oddities are by the names that docs/registries.md gives them. Those of artifacts are
// in [referring].
var oddities = map[string]oddity{
	"head-400": {wrap: status(isHead, 400)},
	"head-403": {wrap: status(isHead, 403)},
	"head-404": {wrap: status(isHead, 404)},
	"head-405": {wrap: status(isHead, 405)},
	"head-500": {wrap: status(isHead, 500)},
	"head-501": {wrap: status(isHead, 501)},
	"head-503": {wrap: status(isHead, 503)},
	"push-only": {
		wrap: status(isToRead, 403), pull: "access denied",
	},
	"head-wrong-size": {wrap: header(both(isHead, isBlob), "Content-Length", "7")},
	"no-digest":       {wrap: header(isToRead, "Docker-Content-Digest", "")},
	"no-length":       {wrap: noLength},
	"http-1.0":        {wrap: oldHTTP},
	"encoded":         {wrap: encoded},
	"digest-wrong":    {wrap: edited(both(isToRead, isManifest), wrongDigest), pull: otherContent},

	"type-none":       {wrap: header(both(isToRead, isManifest), "Content-Type", "")},
	"type-json":       {wrap: header(both(isToRead, isManifest), "Content-Type", "application/json")},
	"type-text":       {wrap: header(both(isToRead, isManifest), "Content-Type", "text/plain; charset=utf-8")},
	"type-bytes":      {wrap: header(both(isToRead, isManifest), "Content-Type", "application/octet-stream")},
	"type-parameters": {wrap: header(both(isToRead, isManifest), "Content-Type", ocispec.MediaTypeImageManifest+" ; charset=utf-8")},
	"type-capitals":   {wrap: header(both(isToRead, isManifest), "Content-Type", strings.ToUpper(ocispec.MediaTypeImageManifest))},
	"type-wrong":      {wrap: header(both(isToRead, isManifest), "Content-Type", ocispec.MediaTypeImageIndex), pull: "index"},
	"type-other":      {wrap: header(both(isToRead, isManifest), "Content-Type", "application/vnd.example.thing+json"), pull: "is no image"},

	"range-ignored": {wrap: cutThen(nil), push: "-"},
	"range-416":     {wrap: cutThen(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) }), push: "-"},
	"range-other": {wrap: cutThen(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-11/100")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte("another part"))
	}), push: "-"},
	"range-lies":     {wrap: cutThen(zeroRange), push: "-"},
	"blob-other":     {wrap: edited(both(isGet, isBlob), configOnly), pull: otherContent, push: "-"},
	"blob-flipped":   {wrap: edited(both(isGet, isBlob), flipped), pull: otherContent, push: "-"},
	"blob-short":     {wrap: edited(both(isGet, isBlob), resized(func(b []byte) []byte { return b[:len(b)/2] })), pull: otherContent, push: "-"},
	"blob-empty":     {wrap: edited(both(isGet, isBlob), resized(func([]byte) []byte { return nil })), pull: otherContent, push: "-"},
	"blob-long":      {wrap: edited(both(isGet, isBlob), resized(func(b []byte) []byte { return append(b, b...) })), pull: otherContent, push: "-"},
	"blob-page":      {wrap: instead(both(isGet, isBlob), page), pull: otherContent, push: "-"},
	"blob-elsewhere": {wrap: wrap(authority{}.wrap).then(moved(both(isToRead, isBlob), 307)), login: eitherWay},

	"upload-id":        {wrap: located("ID"), pull: "-"},
	"upload-path":      {wrap: located("PATH"), pull: "-"},
	"upload-query":     {wrap: located("http://HOSTPATH?_state=a%3D+b&c"), pull: "-", check: checkState},
	"upload-no-scheme": {wrap: located("//HOSTPATH"), pull: "-"},
	"upload-escaped":   {wrap: escaped, pull: "-"},
	"upload-nowhere":   {wrap: header(isStart, "Location", ""), pull: "-", push: "no Location"},
	"upload-200":       {wrap: edited(isStart, code(200)), pull: "-"},
	"upload-201":       {wrap: edited(isStart, code(201)), pull: "-"},
	"upload-moved":     {wrap: moved(isStart, 307).then(located("PATH")), pull: "-", check: checkMoved},
	"upload-moved-302": {wrap: moved(isStart, 302).then(located("PATH")), pull: "-", check: checkMoved},
	"upload-forgotten": {wrap: once(1, both(isPut, func(r *http.Request) bool { return !isManifest(r) }), forgets("BLOB_UPLOAD_UNKNOWN")), pull: "-"},
	"put-moved":        {wrap: moved(isPut, 307), pull: "-"},
	"put-moved-302":    {wrap: moved(isPut, 302), pull: "-"},
	"put-moved-308":    {wrap: moved(isPut, 308), pull: "-"},
	"put-200":          {wrap: edited(isPut, code(200)), pull: "-"},
	"put-202":          {wrap: edited(isPut, code(202)), pull: "-"},
	"put-204":          {wrap: edited(isPut, code(204)), pull: "-"},
	"put-bare": {wrap: edited(isPut, func(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
		clear(a.Header())
	}), pull: "-"},
	"put-other-digest": {
		wrap: header(isPut, "Docker-Content-Digest", digest.FromString("other").String()), pull: "-", push: "got digest",
	},
	"blob-vanishes": {wrap: once(2, both(isHead, isBlob), func(match func(*http.Request) bool) wrap { return status(match, 200) }), pull: "-"},

	"mount-202":    {wrap: unmounted(202), mount: true, pull: "-", check: requests(3, "PUT", "/blobs/")},
	"mount-201":    {wrap: unmounted(201), mount: true, pull: "-", check: requests(3, "PUT", "/blobs/")},
	"mount-401":    {wrap: status(isMount, 401), mount: true, pull: "-"},
	"mount-403":    {wrap: status(isMount, 403), mount: true, pull: "-"},
	"mount-404":    {wrap: status(isMount, 404), mount: true, pull: "-"},
	"mount-405":    {wrap: status(isMount, 405), mount: true, pull: "-"},
	"mount-500":    {wrap: status(isMount, 500), mount: true, pull: "-"},
	"mount-501":    {wrap: status(isMount, 501), mount: true, pull: "-"},
	"mount-503":    {wrap: status(isMount, 503), mount: true, pull: "-"},
	"mount-breaks": {wrap: instead(isMount, func(_ http.ResponseWriter, r *http.Request) { abort(r) }), mount: true, pull: "-"},

	"busy":        {wrap: once(2, always, busy(""))},
	"busy-after":  {wrap: once(1, always, busy("1"))},
	"no-catalog":  {wrap: status(func(r *http.Request) bool { return r.URL.Path == "/v2/" || strings.HasSuffix(r.URL.Path, "/_catalog") }, 404), check: requests(0, "/v2/ ")},
	"unavailable": {wrap: status(always, 503), pull: "503", push: "503"},

	"challenge-none":     {wrap: authority{challenges: []string{}}.wrap, pull: "access denied", push: "access denied", login: eitherWay},
	"challenge-at-root":  {wrap: authority{root: true}.wrap, login: eitherWay},
	"challenge-basic":    {wrap: authority{challenges: []string{"BASIC"}}.wrap, login: withLogin},
	"challenges":         {wrap: authority{challenges: []string{"BASIC", "BEARER"}}.wrap, login: eitherWay},
	"challenges-in-one":  {wrap: authority{challenges: []string{"BASIC, BEARER"}}.wrap, login: eitherWay},
	"challenges-unknown": {wrap: authority{challenges: []string{`Negotiate, BASIC, Digest realm="d", nonce="n"`}}.wrap, login: withLogin},
	"realm-query":        {wrap: authority{query: "?account=a%26b"}.wrap, login: eitherWay},
	"token-field":        {wrap: authority{answer: `{"token":"TOKEN","expires_in":300}`}.wrap, login: eitherWay},
	"token-access":       {wrap: authority{answer: `{"access_token":"TOKEN","expires_in":300}`}.wrap, login: eitherWay},
	"token-no-time":      {wrap: authority{answer: `{"token":"TOKEN"}`}.wrap, login: eitherWay},
	"token-odd-time":     {wrap: authority{answer: `{"token":"TOKEN","expires_in":"3600.5","issued_at":"yesterday"}`}.wrap, login: eitherWay},
	"token-no-post":      {wrap: status(both(isStart, func(r *http.Request) bool { return r.URL.Path == "/token" }), 501).then(authority{}.wrap), login: eitherWay},
	"token-none":         {wrap: authority{answer: `{"details":"no"}`}.wrap, login: eitherWay, pull: "did not include a token", push: "did not include a token"},
	"token-revoked":      {wrap: authority{revoke: 4}.wrap, login: eitherWay},
	"token-refused": {
		wrap: authority{never: true}.wrap, login: eitherWay, pull: "access denied", push: "access denied",
		check: requests(9, "/v2/team/"),
	},

	"mirror-nothing":       {wrap: part(isBlob, none, abort), mirror: true},
	"mirror-cuts-manifest": {wrap: header(both(isHead, isManifest), "Docker-Content-Digest", "").then(part(isManifest, half, abort)), mirror: true},
	"mirror-cuts":          {wrap: part(isBlob, half, abort), mirror: true},
	"mirror-stalls":        {wrap: part(isBlob, half, hang), mirror: true},
	"mirror-short":         {wrap: shorter, mirror: true},
	"mirror-other-bytes":   {wrap: edited(both(isGet, isBlob), flipped), mirror: true},
	"mirror-page":          {wrap: instead(always, page), mirror: true},
	"mirror-wrong-digest":  {wrap: edited(both(isToRead, isManifest), wrongDigest), mirror: true},
	"mirror-404":           {wrap: status(isBlob, 404), mirror: true},
	"mirror-401":           {wrap: status(always, 401), mirror: true},
	"mirror-500":           {wrap: status(always, 500), mirror: true},
}
